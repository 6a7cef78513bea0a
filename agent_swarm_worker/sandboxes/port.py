"""The port behind which sessions run: a sandbox opens guests and finds them again after a crash.

What a guest can do is in `contract.guest`, since adapters use it. Here is what only the worker
needs: opening one, and dealing with what a crashed worker has left in one.

The environment inside a guest that is not this machine.

On this machine a session gets the worker's environment but for what was set for somebody else
(`guards.child_env`). Elsewhere nothing of the worker's environment has a meaning by itself: paths
lead nowhere and every secret in it is one more that can get out. So the environment is built from
an allow-list and from what the session needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from agent_swarm_worker.contract.guest import EndReport, Guest, Unread


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """Which guest to open."""

    name: str
    """Unique for this worker: the session's uuid."""
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Directories of the worker's machine that are to be visible inside, by a short name such as
    ``work``, ``private`` or ``home``; a sandbox may choose where. `Guest.path` tells."""
    handle: str = ""
    """Attach to the guest that had this handle instead of creating one."""


class Sandbox(Protocol):
    """Where the worker's sessions run."""

    def open(self, spec: GuestSpec) -> AbstractAsyncContextManager[Guest]:
        """Create a guest, or attach to one by its handle; leaving it ends what runs in it.

        Raises:
            ProviderError: it cannot be created.
        """
        ...

    async def sweep(self, handle: str) -> EndReport:
        """End everything that runs in a guest which a crashed worker has left behind.

        What it has written and nobody has read stays for `collect`.
        """
        ...

    def collect(self, handle: str) -> AbstractAsyncContextManager[Unread]:
        """End such a guest, and give its unread output.

        The output can be had within the block, and then never again, unless the block is left by
        an error.
        """
        ...

    def kill(self, handle: str) -> None:
        """End a guest of ours at once and without waiting, for a worker that is about to exit."""
        ...


ALLOWED: Final = frozenset(
    {
        *("LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CI"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("MCP_BASE_URL", "AGENT_ID", "SWARM_RUNTIME_INSTANCE_ID"),
    }
)
"""Variables that mean the same everywhere, or that the worker sets for each session."""
ALLOWED_PREFIXES: Final = ("LC_", "AGENT_SWARM_", "GIT_AUTHOR_", "GIT_COMMITTER_")


def guest_environment(
    env: Mapping[str, str],
    needed: Iterable[str] = (),
    *,
    own: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment for a session's processes in a guest.

    Args:
        env: what a session on the worker's machine would get.
        needed: names of variables that this session needs: its credentials, the settings of its
            harness, and what the operator wants passed on (``SWARM_PASS_ENV``).
        own: what the guest sets itself, such as ``PATH`` and ``HOME``; it wins.
    """
    names = ALLOWED | set(needed)
    chosen = {
        name: value
        for name, value in env.items()
        if name in names or name.startswith(ALLOWED_PREFIXES)
    }
    return {**chosen, **own}
