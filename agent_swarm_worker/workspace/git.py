"""Git, called the way a daemon has to call it.

Every call has a time limit, never asks for a password, and is deaf to variables that would point
it at another repository (a worker may itself have been started from within a git hook). Hooks and
file-system monitors of the repository do not run: an agent may have written them. Its filters do,
and for them the environment holds no secrets but those git itself needs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.guards.child_env import helper_env
from agent_swarm_worker.settings import named
from agent_swarm_worker.workspace.commands import Outcome, run
from agent_swarm_worker.workspace.settings import GitSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_SAFE_CONFIG = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("protocol.ext.allow", "never"),
    ("advice.detachedHead", "false"),
)

_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")
_FORBIDDEN_IN_URL = re.compile(r"[\x00-\x1f\x7f]")


class Git:
    """Runs git with a fixed environment and time limit."""

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        timeout_s: float = 120.0,
        clone_timeout_s: float = 900.0,
        scrub: Callable[[str], str] | None = None,
    ) -> None:
        """Set up git.

        Args:
            env: the environment to start from; usually the worker's own.
            timeout_s: limit of each call, fetches included.
            clone_timeout_s: limit of a clone, which brings the whole history.
            scrub: see `helper_env`.
        """
        self.env = clean_env(env, scrub=scrub)
        self.timeout_s = timeout_s
        self.clone_timeout_s = clone_timeout_s
        config = [word for key, value in _SAFE_CONFIG for word in ("-c", f"{key}={value}")]
        self.argv = ("git", *config)

    async def __call__(
        self, *args: str, cwd: Path | None = None, timeout_s: float | None = None
    ) -> Outcome:
        """Run ``git <args>`` in `cwd`."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        return await run([*self.argv, *args], env=self.env, cwd=cwd, timeout_s=limit_s)


def clean_env(
    env: Mapping[str, str], *, scrub: Callable[[str], str] | None = None
) -> dict[str, str]:
    """Return `env` without what would mislead git, make it wait for a person, or is not for it."""
    cleaned = helper_env(env, scrub=scrub)
    cleaned["GIT_TERMINAL_PROMPT"] = "0"
    cleaned["GH_PROMPT_DISABLED"] = "1"
    cleaned["LC_ALL"] = "C"
    return cleaned


def identity(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that sign an agent's commits as the operator asked.

    ``GITHUB_NAME`` and ``GITHUB_EMAIL`` count for every host and whatever a repository configures;
    what is set for git itself goes before them.
    """
    settings = GitSettings.load(env)
    asked = {"NAME": settings.github_name, "EMAIL": settings.github_email}
    return {
        name: value
        for part, value in asked.items()
        for name in (f"GIT_AUTHOR_{part}", f"GIT_COMMITTER_{part}")
        if value and not named(env, name)
    }


def is_safe_ref(name: str) -> bool:
    """True for a branch name git accepts and that cannot be taken for an option.

    The rules are those of git-check-ref-format(1).
    """
    return (
        bool(name)
        and not name.startswith(("-", "/", "."))
        and not name.endswith(("/", "."))
        and name != "@"
        and not _FORBIDDEN_IN_REF.search(name)
    )


def is_safe_url(url: str) -> bool:
    """True for a repository address that cannot be taken for an option or hide a second line."""
    return bool(url) and not url.startswith("-") and not _FORBIDDEN_IN_URL.search(url)
