"""Find the pull request or merge request that a session has opened (docs/api.md 5.11)."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import orjson

from agent_swarm_worker.api.values import Row
from agent_swarm_worker.workspace.git import is_safe_ref, run

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.workspace.git import Git

_TIMEOUT_S = 20.0
_OWNER_AND_NAME = re.compile(r"[/:]([^/:\s]+/[^/:\s]+?)(?:\.git)?/?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class VcsLink:
    """A pull request or merge request."""

    provider: Literal["github", "gitlab"]
    repo: str
    """``owner/name``."""
    number: int
    url: str


async def find_request(git: Git, cwd: Path) -> VcsLink | None:
    """Return the request of the branch that is checked out in `cwd`.

    ``None`` without one, outside a work tree, on a default branch, and if ``gh`` or ``glab``, which
    run with git's environment, is not installed or not logged in.
    """
    head = await git("symbolic-ref", "--quiet", "HEAD", cwd=cwd, timeout_s=_TIMEOUT_S)
    branch = head.stdout.strip().removeprefix("refs/heads/")
    if not head.ok or branch in {"main", "master"} or not is_safe_ref(branch):
        return None
    origin = await git("remote", "get-url", "origin", cwd=cwd, timeout_s=_TIMEOUT_S)
    url = origin.stdout.strip()
    repo = _OWNER_AND_NAME.search(url)
    if repo is None:
        return None
    if "github" in url:
        argv = ["gh", "pr", "list", "--head", branch, "--json", "number,url", "--limit", "1"]
        return await _query(git, cwd, argv, "github", repo[1])
    if "gitlab" in url:
        argv = ["glab", "mr", "list", "--source-branch", branch, "--output", "json"]
        return await _query(git, cwd, argv, "gitlab", repo[1])
    return None


async def _query(
    git: Git, cwd: Path, argv: list[str], provider: Literal["github", "gitlab"], repo: str
) -> VcsLink | None:
    if shutil.which(argv[0], path=git.env.get("PATH")) is None:
        return None
    outcome = await run(argv, env=git.env, cwd=cwd, timeout_s=_TIMEOUT_S)
    if not outcome.ok:
        return None
    try:
        row = Row(orjson.loads(outcome.stdout)[0])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    number = row.whole("number" if provider == "github" else "iid") or 0
    url = row.maybe_text("url" if provider == "github" else "web_url")
    return (
        VcsLink(provider=provider, repo=repo, number=number, url=url)
        if number > 0 and url
        else None
    )
