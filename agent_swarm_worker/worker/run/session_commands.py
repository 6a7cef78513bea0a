"""Run the operator's commands before and after a session, in its guest."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.text import one_line, plain, shorten_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent_swarm_worker.contract import ProviderSessionConfig, Redactor
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.loops.run_policy import Shutdown
    from agent_swarm_worker.workspace.rules import SessionRules

MAX_OUTPUT_BYTES: Final = 256 * 1024
CUT_CHARS: Final = 128 * 1024
"""Dropped from the start of output that was cut, once it is scrubbed: there may be the rest of a
secret, which is not recognised. No variable is longer."""
MAX_QUOTED_CHARS: Final = 1000
SHUTDOWN_TIMEOUT_S = 10.0


@asynccontextmanager
async def commands_around(
    config: ProviderSessionConfig,
    rules: SessionRules,
    shutdown: Shutdown,
    log: Log,
    *,
    budget_s: float,
) -> AsyncIterator[list[str]]:
    """Run the setup command, and at the end the cleanup command; yield the reasons of failures.

    The cleanup command also runs for a session that was ended or could not begin. `budget_s` is
    the worker's for its shutdown.
    """
    failures: list[str] = []
    try:
        limit_s = rules.setup_timeout_s
        failures += await _run("setup", rules.setup, config, timeout_s=limit_s, log=log)
        yield failures
    finally:
        with anyio.CancelScope(shield=True):
            failures += await _clean_up(config, rules, shutdown, log, budget_s=budget_s)


async def _clean_up(
    config: ProviderSessionConfig,
    rules: SessionRules,
    shutdown: Shutdown,
    log: Log,
    *,
    budget_s: float,
) -> list[str]:
    """Run the cleanup command; a shutdown, now or meanwhile, leaves it `SHUTDOWN_TIMEOUT_S`.

    That is less if the shutdown's own budget is.
    """
    failures: list[str] = []
    limit_s, left_s = rules.cleanup_timeout_s, 0.0

    async def shorten() -> None:
        nonlocal left_s
        await shutdown.draining.wait()
        left_s = min(SHUTDOWN_TIMEOUT_S, shutdown.left_s(budget_s))
        limit.deadline = anyio.current_time() + left_s

    async with anyio.create_task_group() as group:
        group.start_soon(shorten)
        with anyio.CancelScope() as limit:
            failures = await _run("cleanup", rules.cleanup, config, timeout_s=limit_s, log=log)
        group.cancel_scope.cancel()
    if limit.cancelled_caught:
        why = f"it took longer than {round(left_s, 1):g} s of a shutdown and was ended"
        failures = [_failed("cleanup", why, log)]
    return failures


async def _run(
    which: str, command: str, config: ProviderSessionConfig, *, timeout_s: float, log: Log
) -> list[str]:
    if not command.strip():
        return []
    try:
        done = await config.guest.run(
            ("sh", "-c", command),
            env=config.env,
            cwd=config.cwd,
            timeout_s=timeout_s,
            max_output=MAX_OUTPUT_BYTES,
            name=which,
            keep_end=True,
        )
    except ProviderError as error:
        return [_failed(which, str(error), log)]
    if done.exit_code == 0 and not done.timed_out:
        log.info(Event.SESSION_COMMAND, which=which)
        return []
    printed = "\n".join(_printed(one, config.redactor) for one in (done.stdout, done.stderr))
    said = shorten_start(one_line(printed), MAX_QUOTED_CHARS)
    how = f"exit code {done.exit_code}"
    if done.timed_out:
        how = f"it took longer than {timeout_s:g} s and was ended"
    return [_failed(which, f"{how}{'; it printed: ' if said else ''}{said}", log)]


def _printed(output: bytes, redactor: Redactor) -> str:
    text = redactor.text(plain(output.decode(errors="replace")))
    return text if len(output) < MAX_OUTPUT_BYTES else text[CUT_CHARS:]


def _failed(which: str, why: str, log: Log) -> str:
    log.warning(Event.SESSION_COMMAND, which=which, why=why)
    return f"The operator's {which} command failed: {why}"
