"""Run git and other short programs: no shell, no prompt, a time limit, no secret in messages.

Git ignores variables that would point it at another repository (the worker may run inside a git
hook). Hooks and file-system monitors of the repository do not run, since an agent may have written
them. Filters may (`clone_config`), in an environment with only the secrets that git itself needs.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from pydantic import field_validator

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.guards.child_env import helper_env
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.processes.pipes import drain, pump
from agent_swarm_worker.processes.spawn import Child, ProcessSpec, spawn
from agent_swarm_worker.processes.stop_tree import kill_now
from agent_swarm_worker.settings import SettingsModel, boot, live, named, operator_only
from agent_swarm_worker.settings.base import Words  # noqa: TC001 - pydantic reads it
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_OUTPUT_BYTES = 1024 * 1024
MAX_WHY_CHARS = 300
MAX_OUTPUT_WHY_CHARS = 1000
"""Of all that a failed program printed."""
_CLOCK = SystemClock()
_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_SAFE_CONFIG = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("protocol.ext.allow", "never"),
    ("advice.detachedHead", "false"),
)

_PROTOCOL = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_FORBIDDEN_PROTOCOLS = frozenset({"ext", "fd"})
"""An address with them names a program to run, or an open file of the worker."""
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
        """Filter `env` (see `clean_env`); the limits are of a call, and of a clone."""
        self.env = clean_env(env, scrub=scrub)
        self.timeout_s = timeout_s
        self.clone_timeout_s = clone_timeout_s
        config = [arg for key, value in _SAFE_CONFIG for arg in ("-c", f"{key}={value}")]
        self.argv = ("git", *config)
        self.cwd: Path | None = None

    def in_clone(self, clone: Path, **env: str) -> Git:
        """Return one that runs in `clone`, with further variables.

        If `clone` is no repository, none of the directories above it is taken for one.
        """
        bound = copy.copy(self)
        bound.cwd = clone
        bound.env = {**self.env, "GIT_CEILING_DIRECTORIES": str(clone.parent), **env}
        return bound

    def configured(self, *settings: tuple[str, str]) -> Git:
        """Return one with further configuration, which programs that call git pass on as well."""
        bound = copy.copy(self)
        first = sum(name.startswith("GIT_CONFIG_KEY_") for name in self.env)
        bound.env = {**self.env, "GIT_CONFIG_COUNT": str(first + len(settings))}
        for number, (key, value) in enumerate(settings, first):
            bound.env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return bound

    async def __call__(
        self, *args: str, cwd: Path | None = None, timeout_s: float | None = None
    ) -> CommandResult:
        """Run ``git <args>`` in `cwd`."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        return await run([*self.argv, *args], env=self.env, cwd=cwd or self.cwd, timeout_s=limit_s)


def clean_env(
    env: Mapping[str, str], *, scrub: Callable[[str], str] | None = None
) -> dict[str, str]:
    """Return `env` filtered by `helper_env`, without prompts, with English messages.

    ``GIT_ALLOW_PROTOCOL`` wins over the configuration of git, also that of a clone.
    """
    cleaned = helper_env(env, scrub=scrub)
    cleaned["GIT_ALLOW_PROTOCOL"] = ":".join(GitSettings.load(env).protocols)
    cleaned["GIT_TERMINAL_PROMPT"] = "0"
    cleaned["GH_PROMPT_DISABLED"] = "1"
    cleaned["LC_ALL"] = "C"
    return cleaned


def identity(env: Mapping[str, str]) -> dict[str, str]:
    """Return author and committer variables from ``GITHUB_NAME`` and ``GITHUB_EMAIL``.

    They apply to every host and override a repository's configuration; git's own variables in
    `env` take precedence.
    """
    settings = GitSettings.load(env)
    values = {"NAME": settings.github_name, "EMAIL": settings.github_email}
    return {
        name: value
        for part, value in values.items()
        for name in (f"GIT_AUTHOR_{part}", f"GIT_COMMITTER_{part}")
        if value and not named(env, name)
    }


def is_safe_ref(name: str) -> bool:
    """True for a branch name by git-check-ref-format(1) that git does not parse as an option."""
    return (
        bool(name)
        and not name.startswith(("-", "/", "."))
        and not name.endswith(("/", "."))
        and name != "@"
        and not _FORBIDDEN_IN_REF.search(name)
    )


def is_safe_url(url: str) -> bool:
    """True for a repository address without control characters that is not parsed as an option."""
    return bool(url) and not url.startswith("-") and not _FORBIDDEN_IN_URL.search(url)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a program ended."""

    ok: bool
    stdout: str = ""
    why: str = ""
    """What it printed, on one line, the error first, without credentials; empty on success."""
    timed_out: bool = False


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    cwd: Path | None = None,
) -> CommandResult:
    """Run a program to its end; a failure is a `CommandResult`, never an exception.

    The program is looked up on the PATH of `env`, which is its whole environment. It is killed with
    its descendants after `timeout_s` seconds.
    """
    try:
        child = await spawn(ProcessSpec(tuple(argv), cwd or Path.cwd(), env, tag=random_ids()))
    except ProviderError as error:
        return CommandResult(ok=False, why=str(error))
    async with child:
        try:
            with anyio.fail_after(timeout_s):
                return await _finish(child, argv[0])
        except TimeoutError:
            why = f"{argv[0]} took longer than {timeout_s:g} s"
            return CommandResult(ok=False, why=why, timed_out=True)
        finally:
            if child.returncode is None:
                with anyio.CancelScope(shield=True):
                    await kill_now(child, clock=_CLOCK)


def without_credentials(text: str) -> str:
    """Return `text` with ``user:password@`` taken out of every URL."""
    return _CREDENTIALS_IN_URL.sub("", text)


async def _finish(child: Child, program: str) -> CommandResult:
    out, err = bytearray(), bytearray()
    await drain(
        child.wait,
        partial(pump, child.stdout, partial(_append, out)),
        partial(pump, child.stderr, partial(_append, err)),
        clock=_CLOCK,
    )
    code = await child.wait()
    stdout = out.decode(errors="replace")
    if code == 0:
        return CommandResult(ok=True, stdout=stdout)
    said = _without_repeats(err.decode(errors="replace"), stdout)
    why = said or f"{program} ended with exit code {code}"
    return CommandResult(ok=False, stdout=stdout, why=without_credentials(why))


def _without_repeats(stderr: str, stdout: str) -> str:
    """Return both outputs on one line: the error first, then the rest in its order."""
    lines = [one_line(line) for line in (stderr + "\n" + stdout).splitlines()]
    parts = dict.fromkeys([_error_line(stderr), *lines])
    return _cut("; ".join(part for part in parts if part), MAX_OUTPUT_WHY_CHARS)


def _error_line(stderr: str) -> str:
    """Return the first line that begins with fatal or error, else the last one."""
    lines = [one_line(line) for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return _cut((errors or lines[-1:] or [""])[0], MAX_WHY_CHARS)


def _cut(line: str, max_chars: int) -> str:
    # Between two words: the scrubber would not recognise half a secret.
    return line if len(line) <= max_chars else line[: line.rfind(" ", 0, max_chars) + 1]


def _append(into: bytearray, chunk: bytes) -> None:
    if len(into) < MAX_OUTPUT_BYTES:
        into += chunk


class GitSettings(SettingsModel):
    """Variables that the worker reads; git and the hosts' own tools read more."""

    # --- git and code hosts
    github_token: str = boot("GITHUB_TOKEN", default="", is_native=True)
    """In a container: git logs in at GitHub with it, and commits get the agent's name."""
    github_name: str = live("GITHUB_NAME", default="", is_native=True)
    """Name in the commits of an agent, whatever the host; ``GIT_AUTHOR_NAME`` and
    ``GIT_COMMITTER_NAME`` win over it."""
    github_email: str = live("GITHUB_EMAIL", default="", is_native=True)
    """Address in the commits of an agent, like ``GITHUB_NAME``."""
    gitlab_token: str = boot("GITLAB_TOKEN", default="", is_native=True)
    """In a container: git logs in at GitLab with it."""
    gitlab_name: str = boot("GITLAB_NAME", default="", is_native=True)
    """In a container without ``GITHUB_TOKEN``: like ``GITHUB_NAME``, and wins over it."""
    gitlab_email: str = boot("GITLAB_EMAIL", default="", is_native=True)
    """In a container without ``GITHUB_TOKEN``: like ``GITHUB_EMAIL``, and wins over it."""
    gitlab_url: str = boot("GITLAB_URL", default="", is_native=True)
    """Address of GitLab; ``https://gitlab.com`` by default."""
    protocols: Words = operator_only(
        "SWARM_GIT_PROTOCOLS", default=("https", "http", "ssh", "git", "file"), min_length=1
    )
    """Protocols of the addresses that the worker's own git may use, separated by commas, colons or
    blanks; ``ext`` and ``fd`` are refused. It is the worker's ``GIT_ALLOW_PROTOCOL``."""

    @field_validator("protocols", mode="after")
    @classmethod
    def _are_protocols(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _PROTOCOL.fullmatch(name) or name in _FORBIDDEN_PROTOCOLS:
                raise ValueError(f"{name!r} is not a protocol that may be used")
        return names
