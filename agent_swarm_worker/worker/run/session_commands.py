"""Run the operator's commands before and after a session, in its guest."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.text import one_line, shorten_start
from agent_swarm_worker.worker.run.running_task import GRACEFUL_SHUTDOWN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.run.running_task import RunningTask
    from agent_swarm_worker.workspace.rules import SessionRules

MAX_OUTPUT_BYTES = 256 * 1024
MAX_QUOTED_CHARS = 1000
SHUTDOWN_TIMEOUT_S = 10.0


@asynccontextmanager
async def commands_around(
    config: ProviderSessionConfig, rules: SessionRules, task: RunningTask, log: Log
) -> AsyncIterator[list[str]]:
    """Run the setup command, and the cleanup command at the end; give why they failed.

    The cleanup command also runs for a session that was ended or could not begin.
    """
    failures: list[str] = []
    try:
        limit_s = rules.setup_timeout_s
        failures += await _run("setup", rules.setup, config, timeout_s=limit_s, log=log)
        yield failures
    finally:
        limit_s = rules.cleanup_timeout_s
        if task.ended_by == GRACEFUL_SHUTDOWN:
            limit_s = min(limit_s, SHUTDOWN_TIMEOUT_S)
        with anyio.CancelScope(shield=True):
            failures += await _run("cleanup", rules.cleanup, config, timeout_s=limit_s, log=log)


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
        )
    except ProviderError as error:
        why = str(error)
    else:
        if done.exit_code == 0 and not done.timed_out:
            log.info(Event.SESSION_COMMAND, which=which)
            return []
        printed = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
        said = shorten_start(one_line(config.redactor.text(printed)), MAX_QUOTED_CHARS)
        how = f"exit code {done.exit_code}"
        if done.timed_out:
            how = f"it took longer than {timeout_s:g} s and was ended"
        why = f"{how}{'; it printed: ' if said else ''}{said}"
    log.warning(Event.SESSION_COMMAND, which=which, why=why)
    return [f"The operator's {which} command failed: {why}"]
