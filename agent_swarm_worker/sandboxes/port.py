"""Define what a sandbox is: it opens guests, and finds them again after a crash of the worker.

`contract.guest` defines the guest, which adapters use. Here is the part that only the worker uses.
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
    """A guest to open."""

    name: str
    """Unique for this worker: the session's uuid."""
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Directories of the worker's machine to make visible inside, by short names such as ``work``,
    ``private`` or ``home``. The sandbox chooses their paths inside; see `Guest.path`."""
    handle: str = ""
    """If set, attach to the guest with this handle instead of creating one."""


class Sandbox(Protocol):
    """Runs the worker's sessions."""

    def open(self, spec: GuestSpec) -> AbstractAsyncContextManager[Guest]:
        """Create a guest, or attach to one by its handle; leaving it ends its processes.

        A guest that cannot be created is a `ProviderError`.
        """

    async def sweep(self, handle: str) -> EndReport:
        """End all processes in a guest of a crashed worker, and keep their unread output."""

    def recover_output(self, handle: str) -> AbstractAsyncContextManager[Unread]:
        """End such a guest, and give its unread output inside the block.

        If the block is left by an error, the output is kept for the next call.
        """

    def kill(self, handle: str) -> None:
        """End a guest at once and without waiting, for a worker that is about to exit."""


ALLOWED: Final = frozenset(
    {
        *("LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CI"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("MCP_BASE_URL", "AGENT_ID", "SWARM_RUNTIME_INSTANCE_ID"),
    }
)
"""Variables with the same meaning everywhere, or set by the worker for each session."""
ALLOWED_PREFIXES: Final = ("LC_", "AGENT_SWARM_", "GIT_AUTHOR_", "GIT_COMMITTER_")


def guest_environment(
    env: Mapping[str, str], needed: Iterable[str] = (), *, own: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment for a session's processes in a guest elsewhere, by an allow-list.

    There the worker's paths do not exist and its secrets may leak. On this machine a session gets
    the worker's environment without the variables meant for other programs (`guards.child_env`):
    `env`. From it `needed` names the variables that this session needs: its credentials, the
    settings of its harness, and those that the operator passes on (``SWARM_PASS_ENV``). `own` are
    those that the guest sets itself, such as ``PATH`` and ``HOME``.
    """
    names = ALLOWED | set(needed)
    chosen = {
        name: value
        for name, value in env.items()
        if name in names or name.startswith(ALLOWED_PREFIXES)
    }
    return {**chosen, **own}
