"""Measure the CPU of a part of the worker: `CliSession`, one `SessionReporter` and the `Outbox`.

Console, tool-loop guard, watchdog and log are left out, and few lines are tool calls: `pipeline`
measures the whole worker. The harness is ``cat``, so the CPU counted is this process's alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent_swarm_worker.sandboxes.local import LocalGuest

LINES = 60_000
LINE_BYTES = 500
SECRETS = 20


RUNS = 5


def measure() -> dict[str, Any]:
    """Return the median run, each in a fresh process for an honest peak of memory."""
    argv = [sys.executable, "-m", "benchmarks.session_path"]
    runs = []
    for _ in range(RUNS):
        output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        runs.append(dict(json.loads(output)))
    runs.sort(key=lambda run: float(run["cpu_us_per_line"]))
    return {**runs[RUNS // 2], "cpu_us_per_line_all": [run["cpu_us_per_line"] for run in runs]}


def made_up_secrets() -> list[str]:
    rng = random.Random(2)
    return ["".join(rng.choices("abcdefghijkLMNOPQ0123456789+/", k=32)) for _ in range(SECRETS)]


def write_stream(path: Path, secrets: list[str]) -> None:
    """Write a plausible session: mostly text, a tool call in ten lines, a secret in 50."""
    rng = random.Random(1)
    words = [f"{rng.choice(['read', 'write', 'check', 'module', 'test'])}{n}" for n in range(500)]

    def line(event: dict[str, Any]) -> str:
        spare = LINE_BYTES - len(json.dumps(event)) - 1
        filler = ""
        while len(filler) < spare:
            filler += rng.choice(words) + " "
        text = json.dumps(event).replace("FILL", filler[: max(0, spare)] or "x")
        return text + "\n"

    with path.open("w") as out:
        out.write(
            line(
                {"type": "system", "subtype": "init", "session_id": "s", "model": "m", "x": "FILL"}
            )
        )
        for n in range(LINES - 2):
            said = "FILL" if n % 50 else f"FILL {rng.choice(secrets)}"
            block: dict[str, Any] = {"type": "text", "text": said}
            if n % 10 == 0:
                block = {
                    "type": "tool_use",
                    "id": f"t{n}",
                    "name": "Read",
                    "input": {"file_path": said, "n": n},
                }
            usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 7}
            message = {"id": f"m{n}", "role": "assistant", "content": [block], "usage": usage}
            out.write(line({"type": "assistant", "message": message, "session_id": "s"}))
        out.write(
            line(
                {
                    "type": "result",
                    "subtype": "success",
                    "is_error": False,
                    "result": "FILL",
                    "total_cost_usd": 1.0,
                }
            )
        )


async def run(url: str, run_dir: Path) -> dict[str, Any]:
    import anyio

    from agent_swarm_worker.api.capabilities import ServerCapabilities
    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.api.health import ApiHealth
    from agent_swarm_worker.api.http import Http
    from agent_swarm_worker.clock import SystemClock
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.journal.writer import Journal
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.outbox.outbox import Outbox
    from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
    from agent_swarm_worker.providers.kit.cli_session import CliSession
    from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
    from agent_swarm_worker.reporting.port import SessionInfo
    from agent_swarm_worker.reporting.reporter import SessionReporter
    from agent_swarm_worker.state.directory import StateDir
    from agent_swarm_worker.worker.recovery.upload_cursor import UploadCursor

    secrets = made_up_secrets()
    stream = run_dir / "stream.jsonl"
    write_stream(stream, secrets)
    clock, log = SystemClock(), Log()
    scrubber = Scrubber()
    for n, secret in enumerate(secrets):
        scrubber.add(f"SECRET_{n}", secret)
    log_file = run_dir / "journal.jsonl"
    metadata_bytes = Journal.begin(log_file, {"type": "worker_metadata"})
    config = ProviderSessionConfig(
        prompt="",
        agent_id="bench-agent",
        task_id="bench-task",
        session_uuid="bench-session",
        api_url=url,
        api_key="",
        guest=LocalGuest("bench-session"),
        cwd=run_dir,
        log_file=log_file,
        private_dir=run_dir,
        env={"PATH": os.environ["PATH"]},
        redactor=scrubber,
    )

    def harness(session: ProviderSessionConfig) -> CliHarness:
        launch = Launch(argv=("cat", str(stream)), env=session.env, cwd=run_dir)
        return CliHarness(launch=launch, translator=ClaudeTranslator(session))

    with StateDir.open(run_dir / "state", "bench-agent", clock=clock) as state:
        async with Http(url, health=ApiHealth(clock)) as http:
            outbox = Outbox(
                state.database, SwarmClient(http, ServerCapabilities(clock)), clock=clock
            )
            info = SessionInfo(
                task_id="bench-task",
                effective_id="bench-task",
                agent_id="bench-agent",
                session_uuid="bench-session",
                iteration=1,
                harness="claude",
                wire_provider="claude",
                log_file=log_file,
                metadata_bytes=metadata_bytes,
            )
            reporter = SessionReporter(
                info,
                writes=UploadCursor(outbox, state, "bench-task"),
                clock=clock,
                redactor=scrubber,
                log=log,
            )
            session = CliSession(replace(config, sink=reporter), harness)
            session.on_event(reporter.on_event)
            before, started_s = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            async with anyio.create_task_group() as group:
                group.start_soon(outbox.run)
                group.start_soon(reporter.run)
                result = await session.wait_for_completion()
                reporter.close(result)
                arrived = await outbox.flush_all(120)
                group.cancel_scope.cancel()
    report = figures(before, time.perf_counter() - started_s)
    assert arrived
    assert not result.is_error
    journal = log_file.read_text()
    assert journal.count("\n") == LINES + 1
    assert not any(secret in journal for secret in secrets)
    return report


def figures(before: resource.struct_rusage, wall_s: float) -> dict[str, Any]:
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "lines": LINES,
        "line_bytes": LINE_BYTES,
        "secrets": SECRETS,
        "cpu_us_per_line": round(cpu_s / LINES * 1e6, 1),
        "of_that_in_the_kernel": round((after.ru_stime - before.ru_stime) / LINES * 1e6, 1),
        "lines_per_second": round(LINES / wall_s),
        "peak_rss_mb": round(after.ru_maxrss / 1024, 1),
    }


def main() -> None:
    import anyio

    from agent_swarm_worker import logs
    from benchmarks.sink import sink

    logs.configure(level="error")
    with sink() as (url, _), tempfile.TemporaryDirectory() as run_dir:
        print(json.dumps(anyio.run(partial(run, url, Path(run_dir)))))


if __name__ == "__main__":
    main()
