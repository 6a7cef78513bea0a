"""Configure git for the worker's user: identity, trusted clones, logins; make the first clones.

No token is written to disk: git calls a helper that reads the variable, so that a session uses a
token that was rotated in the swarm's configuration.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.settings import named
from agent_swarm_worker.workspace.git import Git, GitSettings, clean_env, run
from agent_swarm_worker.workspace.repository import Repositories, RepositoryRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.api.wire.resources import Repo
    from agent_swarm_worker.clock import Clock

LIMIT_S = 30.0
DEFAULT_NAME = "Worker Agent"
DEFAULT_EMAIL = "worker-agent@agent-swarm.invalid"
_HOST = re.compile(r"(?:https?://)?([A-Za-z0-9.-]+(?::[0-9]+)?)/?")
_HELPER = '!f() {{ test "$1" = get && printf "username={user}\\npassword=%s\\n" "${name}"; }}; f'


def identity(env: Mapping[str, str]) -> dict[str, str]:
    """Return the unset variables of git's author and committer; empty without a token."""
    settings = GitSettings.load(env)
    if settings.github_token:
        name, email = settings.github_name, settings.github_email
    elif settings.gitlab_token:
        name = settings.gitlab_name or settings.github_name
        email = settings.gitlab_email or settings.github_email
    else:
        return {}
    who = {"NAME": name or DEFAULT_NAME, "EMAIL": email or DEFAULT_EMAIL}
    wanted = {f"GIT_{part}_{key}": who[key] for part in ("AUTHOR", "COMMITTER") for key in who}
    return {key: value for key, value in wanted.items() if not named(env, key)}


async def trust_every_clone(env: Mapping[str, str], *, is_root: bool, log: Log) -> None:
    """Make git trust clones of any owner, since volumes may have another."""
    scope = "--system" if is_root else "--global"
    known = await run(
        ["git", "config", scope, "--get-all", "safe.directory"],
        env=clean_env(env),
        timeout_s=LIMIT_S,
    )
    if "*" in known.stdout.split():
        return
    await _run(["git", "config", scope, "--add", "safe.directory", "*"], env, log)


async def set_up_logins(env: Mapping[str, str], log: Log) -> None:
    """Make git log in with the tokens of the environment; a failure is only logged."""
    settings = GitSettings.load(env)
    if settings.github_token:
        if shutil.which("gh", path=env.get("PATH")):
            await _run(["gh", "auth", "setup-git"], env, log)
        else:
            await _helper("github.com", "x-access-token", "GITHUB_TOKEN", env, log)
    if settings.gitlab_token:
        address = _HOST.fullmatch(settings.gitlab_url or "gitlab.com")
        if address:
            await _helper(address[1], "oauth2", "GITLAB_TOKEN", env, log)
        else:
            log.warning(Event.BOOT_STEP, step="git", why="GITLAB_URL is not the address of a host")


async def _helper(host: str, user: str, name: str, env: Mapping[str, str], log: Log) -> None:
    key = f"credential.https://{host}.helper"
    value = _HELPER.format(user=user, name=name)
    await _run(["git", "config", "--global", "--replace-all", key, value], env, log)


async def _run(argv: list[str], env: Mapping[str, str], log: Log) -> None:
    outcome = await run(argv, env=clean_env(env), timeout_s=LIMIT_S)
    if not outcome.ok:
        log.warning(Event.BOOT_STEP, step=" ".join(argv[:3]), why=outcome.why)


class _FetchedRepo:
    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    async def repos(self, name: str) -> Sequence[Repo]:  # noqa: ARG002 - one row only
        return (self._repo,)


async def clone_all(
    repos: Sequence[Repo], env: Mapping[str, str], *, workspace: Path, clock: Clock
) -> None:
    """Clone missing repositories, and update the others where that loses no work; log failures."""
    for repo in repos:
        repositories = Repositories(
            _FetchedRepo(repo), Git(env), clock, workspace_dir=workspace, fallback_dir=workspace
        )
        request = RepositoryRequest(vcs_repo=repo.url, first_kickoff=False)
        async with repositories.prepared(request):
            pass
