"""Measure the time and the sequential requests between a worker's steps, with a slow API.

A real ``swarm-worker run`` against a local swarm in a process of its own, which delays the answer
to each of the worker's requests. Measured: process start → first poll, claim → CLI started, CLI
end → finish sent; each with the number of requests and of rounds in between:
concurrent requests count as one round. Seconds depend on the machine, rounds do
not.

    python -m benchmarks round_trips
    python -m benchmarks.round_trips --starts 9 --tasks 0 \\
        --python /path/of/one/venv/bin/python --python /path/of/another/venv/bin/python

With two interpreters, their installed workers are started in turn and compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "bench-api-key-0123456789"
AGENT_ID = "0a9e0000-0000-4000-8000-0000000000be"
LOG = "/bench/log"
"""Path at which the delaying swarm returns its requests with their times."""
DELAY_MS, TASKS, STARTS = 100, 5, 3
WAIT_S = 120.0
_USAGE = {"input_tokens": 900, "output_tokens": 100}
_SESSION = "5e551011-0000-4000-8000-000000000001"
SAID = (
    {"type": "system", "subtype": "init", "session_id": _SESSION, "model": "claude-sonnet-4-5"},
    {
        "type": "assistant",
        "session_id": _SESSION,
        "message": {
            "id": "m1",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "usage": _USAGE,
            "content": [{"type": "text", "text": "The work is done."}],
        },
    },
    {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "session_id": _SESSION,
        "result": "The work is done.",
        "total_cost_usd": 0.01,
        "usage": _USAGE,
        "modelUsage": {"claude-sonnet-4-5": {"contextWindow": 200000, "costUSD": 0.01}},
        "num_turns": 1,
        "duration_ms": 500,
    },
)
"""What the scripted claude prints."""
Entry = dict[str, Any]


def measure() -> dict[str, Any]:
    """Return the medians of this interpreter's worker."""
    return run(DELAY_MS, TASKS, STARTS, [sys.executable])[0]


def run(delay_ms: float, tasks: int, starts: int, pythons: Sequence[str]) -> list[dict[str, Any]]:
    """Measure the worker that is installed in each interpreter, and return their medians.

    Args:
        delay_ms: by which each answer is late.
        tasks: run one after the other, by the last of the workers that are started.
        starts: of a worker, in a new directory each; the interpreters take turns.
        pythons: the interpreters.
    """
    measured: list[dict[str, list[Entry]]] = [
        {"start_to_poll": [], "claim_to_cli": [], "cli_end_to_finish": []} for _ in pythons
    ]
    for number in range(starts):
        for python, spans in zip(pythons, measured, strict=True):
            _measure_start(python, delay_ms, tasks if number == starts - 1 else 0, spans)
    return [
        {"delay_ms": delay_ms, **{name: _median(found) for name, found in spans.items() if found}}
        for spans in measured
    ]


def _measure_start(python: str, delay_ms: float, tasks: int, spans: dict[str, list[Entry]]) -> None:
    with tempfile.TemporaryDirectory() as run_dir, ExitStack() as held:
        swarm = _Swarm(Path(run_dir), delay_ms)
        held.callback(swarm.close)
        started_s = time.time()
        worker = _worker(Path(run_dir), swarm.url, python)
        held.callback(_end, worker)
        swarm.watch(worker.pid)
        poll = swarm.wait_for(_is_poll)
        span = _span(swarm.log(), started_s, poll["begin_s"])
        spans["start_to_poll"].append({**span, "cpu_s": poll["cpu_s"]})
        for _ in range(tasks):
            claim, end = _one_task(swarm, Path(run_dir))
            spans["claim_to_cli"].append(claim)
            spans["cli_end_to_finish"].append(end)


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process, up to now."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _one_task(swarm: _Swarm, run_dir: Path) -> tuple[Entry, Entry]:
    task_id = swarm.submit()
    finish = swarm.wait_for(lambda entry: _is_finish(entry, task_id))
    began_s, ended_s = (float((run_dir / name).read_text()) for name in ("began", "ended"))
    log = swarm.log()
    claimed_s = max(e["end_s"] for e in log if _is_poll(e) and e["end_s"] <= began_s)
    return _span(log, claimed_s, began_s), _span(log, ended_s, finish["begin_s"])


def _span(log: Sequence[Entry], begin_s: float, end_s: float) -> Entry:
    inside = [e for e in log if begin_s <= e["begin_s"] < end_s and not _is_beside(e)]
    return {"s": end_s - begin_s, "requests": len(inside), "rounds": _rounds(inside)}


def _rounds(log: Sequence[Entry]) -> int:
    """Return the most requests of which each began when the one before it had ended."""
    rounds, free_s = 0, 0.0
    for entry in sorted(log, key=lambda entry: entry["end_s"]):
        if entry["begin_s"] >= free_s:
            rounds, free_s = rounds + 1, entry["end_s"]
    return rounds


def _is_poll(entry: Entry) -> bool:
    return bool(entry["path"] == "/api/poll")


def _is_finish(entry: Entry, task_id: str) -> bool:
    return bool(entry["path"] == f"/api/tasks/{task_id}/finish")


def _is_beside(entry: Entry) -> bool:
    """True for requests of periodic loops."""
    return any(word in entry["path"] for word in ("/ping", "heartbeat", "cancelled-tasks"))


def _median(spans: Sequence[Entry]) -> Entry:
    seconds = [name for name in ("s", "cpu_s") if name in spans[0]]
    return {
        **{name: round(statistics.median(span[name] for span in spans), 3) for name in seconds},
        "requests": statistics.median_high([span["requests"] for span in spans]),
        "rounds": statistics.median_high([span["rounds"] for span in spans]),
    }


class _Swarm:
    """The delaying swarm: a process."""

    def __init__(self, run_dir: Path, delay_ms: float) -> None:
        argv = [sys.executable, "-m", "benchmarks.round_trips", "--serve", str(run_dir / "db")]
        self._process = subprocess.Popen(
            [*argv, "--delay-ms", str(delay_ms)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        headers = {"Authorization": f"Bearer {KEY}"}
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=WAIT_S)

    def log(self) -> list[Entry]:
        return list(self._client.get(LOG).json())

    def watch(self, pid: int) -> None:
        """Note this process's CPU time at each of its requests."""
        self._client.get(LOG, params={"pid": pid})

    def submit(self) -> str:
        body = {"task": "work", "agentId": AGENT_ID, "followUpConfig": {"disabled": True}}
        answer = self._client.post("/api/tasks", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def wait_for(self, looks_right: Any) -> Entry:
        """Return the first request that looks right, once it was answered."""
        gives_up_s = time.monotonic() + WAIT_S
        while time.monotonic() < gives_up_s:
            for entry in self.log():
                if looks_right(entry):
                    return entry
            time.sleep(0.1)
        raise TimeoutError("the worker did not come as far as that")

    def close(self) -> None:
        self._client.close()
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def _worker(run_dir: Path, url: str, python: str) -> subprocess.Popen[bytes]:
    (run_dir / "home").mkdir()
    (run_dir / "bin").mkdir()
    script = run_dir / "bin" / "claude"
    said = "".join(f"echo {shlex.quote(json.dumps(line))}\n" for line in SAID)
    script.write_text(
        f"#!/bin/sh\n[ \"$1\" = --version ] && echo '2.1.200 (Claude Code)' && exit\n"
        f"cd {shlex.quote(str(run_dir))}\ndate +%s.%N > began\n{said}date +%s.%N > ended\n"
    )
    script.chmod(0o700)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(run_dir / "home"),
        "MCP_BASE_URL": url,
        "API_KEY": KEY,
        "AGENT_ID": AGENT_ID,
        "SWARM_STATE_DIR": str(run_dir / "state"),
        "SWARM_WORKSPACE_DIR": str(run_dir / "no-workspace"),
        "HARNESS_PROVIDER": "claude",
        "CLAUDE_BINARY": str(script),
        "ANTHROPIC_API_KEY": "bench-credential-0123456789",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",  # no vendor is asked
        "SKIP_SESSION_SUMMARY": "1",
        "POLL_INTERVAL_MS": "500",
    }
    argv = [python, "-m", "agent_swarm_worker", "run"]
    with (run_dir / "worker.log").open("wb") as output:
        return subprocess.Popen(argv, env=env, cwd=run_dir, stdout=output, stderr=output)


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(20)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


# --- the delaying swarm
def _delaying(app: Any, delay_s: float) -> Any:
    """Wrap the swarm: what the worker asks is carried out at once and answered late."""
    log: list[Entry] = []
    watched = 0

    async def delayed(scope: Any, receive: Any, send: Any) -> None:
        nonlocal watched
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif scope["path"] == LOG:
            watched = int(scope["query_string"].removeprefix(b"pid=") or watched)
            head = {"type": "http.response.start", "status": 200}
            await send({**head, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": json.dumps(log).encode()})
        elif b"x-agent-id" not in dict(scope["headers"]):
            await app(scope, receive, send)
        else:
            begin_s, cpu_s = time.time(), _cpu_s(watched)

            async def late(message: Any) -> None:
                if message["type"] == "http.response.start":
                    await anyio.sleep(delay_s)
                await send(message)

            await app(scope, receive, late)
            end_s = time.time()
            entry = {"method": scope["method"], "path": scope["path"]}
            log.append({**entry, "begin_s": begin_s, "end_s": end_s, "cpu_s": cpu_s})

    return delayed


async def _serve(db: str, delay_s: float) -> None:
    from agent_swarm_worker.local_swarm import serve
    from agent_swarm_worker.local_swarm.serve import LocalSwarm
    from agent_swarm_worker.local_swarm.sweeps import SweepSettings

    build = vars(serve)["build_app"]
    vars(serve)["build_app"] = lambda *parts: _delaying(build(*parts), delay_s)
    async with LocalSwarm(db, KEY, sweeps=SweepSettings(first_after_s=0.0)) as swarm:
        print(swarm.url, flush=True)
        await anyio.sleep_forever()


def _ratios(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    return {
        f"{name}.{unit}": round(span[unit] / other[name][unit], 2)
        for name, span in one.items()
        if isinstance(span, dict)
        for unit in ("s", "cpu_s")
        if unit in span
    }


def main() -> None:
    """Measure one worker, or compare the first with the second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve")
    parser.add_argument("--delay-ms", type=float, default=DELAY_MS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--python", action="append", help="interpreter of a worker; twice: compare")
    options = parser.parse_args()
    if options.serve:
        anyio.run(_serve, options.serve, options.delay_ms / 1000)
        return
    pythons = options.python or [sys.executable]
    reports = run(options.delay_ms, options.tasks, options.starts, pythons)
    shown: dict[str, Any] = dict(zip(pythons, reports, strict=True))
    if len(reports) == 2:
        shown["ratios"] = _ratios(*reports)
    print(json.dumps(shown, indent=2))


if __name__ == "__main__":
    main()
