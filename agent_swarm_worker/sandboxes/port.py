"""The port behind which sessions run: a sandbox opens guests and finds them again after a crash.

What a guest can do is in `contract.guest`, since adapters use it. Here is what only the worker
needs: opening one, and dealing with what a crashed worker has left in one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
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
