"""Running a command of a guest to its end, by means of what every guest can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.contract.guest import NO_GRACE, Completed
from agent_swarm_worker.processes.drain import drain, pump

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract.guest import Command, Guest


async def run_to_end(
    guest: Guest, command: Command, *, timeout_s: float, max_output: int, clock: Clock
) -> Completed:
    """Run `command`, which gets no input, and end all it started; see `Guest.run`.

    Args:
        guest: where.
        command: what.
        timeout_s: when it is ended.
        max_output: how many bytes of either stream are kept; the rest is read and dropped.
        clock: measures how long output is read after the exit.
    """
    stdout, stderr = bytearray(), bytearray()

    def keep(kept: bytearray, chunk: bytes) -> None:
        kept += chunk[: max_output - len(kept)]

    async with await guest.start(command) as process:
        exit_code = None
        try:
            with anyio.move_on_after(timeout_s) as patience:
                await drain(
                    process,
                    lambda: pump(process.stdout, lambda chunk: keep(stdout, chunk)),
                    lambda: pump(process.stderr, lambda chunk: keep(stderr, chunk)),
                    clock=clock,
                )
                exit_code = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await guest.end(process, NO_GRACE)
    return Completed(bytes(stdout), bytes(stderr), exit_code, patience.cancelled_caught)
