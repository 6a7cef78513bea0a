"""Running short helper programs: no shell, no terminal, a time limit, no secret in what is said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.processes.drain import drain, pump
from agent_swarm_worker.processes.kill_ladder import kill_now
from agent_swarm_worker.processes.spawn import Child, ProcessSpec, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_OUTPUT_BYTES = 1024 * 1024
"""More output than this is read and thrown away."""

MAX_WHY_CHARS = 300

_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    ok: bool
    stdout: str = ""
    why: str = ""
    """If it failed: its complaint in one line, fit to be shown; else empty."""


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    cwd: Path | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """Run a program to its end and return how it went. Never raises for what the program does.

    Args:
        argv: program and arguments; the program is looked up on the PATH of `env`.
        env: the complete environment.
        timeout_s: after this many seconds the program and what it started are killed.
        cwd: where it runs; by default where this process does.
        clock: the time that the killing goes by.
    """
    clock = clock or SystemClock()
    try:
        child = await spawn(ProcessSpec(tuple(argv), cwd or Path.cwd(), env, tag=random_ids()))
    except ProviderError as error:
        return Outcome(ok=False, why=str(error))
    async with child:
        try:
            with anyio.fail_after(timeout_s):
                return await _finish(child, argv[0], clock)
        except TimeoutError:
            return Outcome(ok=False, why=f"{argv[0]} took longer than {timeout_s:g} s")
        finally:
            if child.returncode is None:
                with anyio.CancelScope(shield=True):
                    await kill_now(child, clock=clock)


def without_credentials(text: str) -> str:
    """Return `text` with ``user:password@`` taken out of every URL."""
    return _CREDENTIALS_IN_URL.sub("", text)


async def _finish(child: Child, program: str, clock: Clock) -> Outcome:
    out, err = bytearray(), bytearray()
    await drain(
        child,
        partial(pump, child.stdout, partial(_keep, out)),
        partial(pump, child.stderr, partial(_keep, err)),
        clock=clock,
    )
    code = await child.wait()
    stdout = out.decode(errors="replace")
    if code == 0:
        return Outcome(ok=True, stdout=stdout)
    why = _complaint(err.decode(errors="replace")) or f"{program} ended with exit code {code}"
    return Outcome(ok=False, stdout=stdout, why=without_credentials(why))


def _complaint(stderr: str) -> str:
    """Return the line that says what went wrong; the last one if none says so."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    line = (telling or lines[-1:] or [""])[0]
    # Between two words: half a secret would not be recognised where this is shown.
    return line if len(line) <= MAX_WHY_CHARS else line[: line.rfind(" ", 0, MAX_WHY_CHARS) + 1]


def _keep(into: bytearray, chunk: bytes) -> None:
    if len(into) < MAX_OUTPUT_BYTES:
        into += chunk
