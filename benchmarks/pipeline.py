"""Measure the cost of a line in ``swarm-worker run``, a process with all its listeners.

Default settings and log level, the log in a file, `SECRETS` secrets in the environment, an API and
a scripted agent that are processes of their own. The CPU counted is the worker's alone, without
its start, its idle share and its first session (which loads modules). Each figure is also given as
a multiple of what the standard library's ``json.loads`` takes for the same lines in the same run.

The longest stall of the event loop comes from runs of their own, whose worker is watched
(`watched_worker`): in the others nothing is measured inside the process.
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
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import scripted_claude, streams, watched_worker
from benchmarks.sink import ask, sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS = 3
STREAMS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "tool_dense": lambda: streams.tool_dense(20_000),
    "text_dense": lambda: streams.text_dense(40_000),
    "read_heavy": lambda: streams.read_heavy(1_000),
}
SINGLE_EVENTS = {"64_kib": 64 * 1024, "1_mib": 1024 * 1024}
IDLE_S = 2.0
WAIT_S = 300.0
AGENT_ID = "0a9e0000-0000-4000-8000-0000000000be"
_PROFILE = ("-m", "cProfile", "-o")


def measure() -> dict[str, Any]:
    """Return the median run of each stream, then the longest stalls, in milliseconds."""
    report: dict[str, Any] = {}
    for name in STREAMS:
        runs = sorted((_measure(name) for _ in range(RUNS)), key=lambda run: run["times_json"])
        report[name] = {
            **runs[RUNS // 2],
            "times_json_all": [run["times_json"] for run in runs],
            "peak_rss_mb": max(run["peak_rss_mb"] for run in runs),
        }
    report["watched_run_longest_stall_ms"] = stalls()
    return report


def stalls() -> dict[str, Any]:
    """Return the longest step of the loop per stream and per single big event."""
    longest: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as run_dir,
        Daemon.started(Path(run_dir), watched=True) as it,
    ):
        it.run_session(streams.tool_dense(10))
        for name, make in STREAMS.items():
            it.stalls()
            it.run_session(make())
            longest[name] = it.stalls()
        for name, size in SINGLE_EVENTS.items():
            for kind in ("code", "numbers"):
                it.stalls()
                it.run_session(streams.single_event(size, kind))
                longest[f"one_event_{name}_{kind}"] = it.stalls()
    return longest


def _measure(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as run_dir, Daemon.started(Path(run_dir)) as it:
        it.run_session(streams.tool_dense(10))
        idle = it.cpu_s()
        time.sleep(IDLE_S)
        idle_share = (it.cpu_s() - idle) / IDLE_S
        run = it.run_session(STREAMS[name]())
        cpu_s = max(0.0, run.cpu_s - idle_share * run.wall_s)
        return {
            "lines": run.lines,
            "bytes_per_line": round(run.size / run.lines),
            "cpu_us_per_line": round(cpu_s / run.lines * 1e6, 2),
            "json_loads_us_per_line": round(run.json_s / run.lines * 1e6, 2),
            "times_json": round(cpu_s / run.json_s, 2),
            "of_that_in_the_kernel_us": round(run.system_s / run.lines * 1e6, 2),
            "lines_per_second": round(run.lines / run.wall_s),
            "peak_rss_mb": it.peak_mb(),
            "requests": run.requests,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One session from the poll that gives out its task until everything has arrived."""

    lines: int
    size: int
    cpu_s: float
    system_s: float
    json_s: float
    wall_s: float
    requests: int


class Daemon:
    """A worker process in a directory of its own, with its API."""

    def __init__(self, process: subprocess.Popen[bytes], run_dir: Path, url: str) -> None:
        self._process, self._run_dir, self._url = process, run_dir, url

    @classmethod
    @contextmanager
    def started(
        cls, run_dir: Path, *, watched: bool = False, profile: Path | None = None
    ) -> Iterator[Daemon]:
        """Start API and worker; return at the first poll."""
        program = ["-m", "agent_swarm_worker"]
        if watched:
            program = ["-m", "benchmarks.watched_worker", "--stalls"]
        if profile is not None:
            program = [*_PROFILE, str(profile), *program]
        (run_dir / "home").mkdir()
        agent = [
            sys.executable,
            "-S",
            "-E",
            str(scripted_claude.__file__),
            str(run_dir / "stream"),
        ]
        with sink() as (url, api), (run_dir / "worker.log").open("wb") as log:
            ask(url, "/bench/secrets", {"secrets": list(streams.made_up_secrets().values())})
            env = {
                "PATH": os.environ["PATH"],
                "HOME": str(run_dir / "home"),
                "MCP_BASE_URL": url,
                "API_KEY": "bench-key-0123456789",
                "AGENT_ID": AGENT_ID,
                "SWARM_STATE_DIR": str(run_dir / "state"),
                "SWARM_WORKSPACE_DIR": str(run_dir / "no-workspace"),
                "HARNESS_PROVIDER": "claude",
                "CLAUDE_BINARY": shlex.join(agent),
                "ANTHROPIC_API_KEY": "bench-model-key-0123456789",
                "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",  # no vendor is asked
                "SKIP_SESSION_SUMMARY": "1",
                **streams.made_up_secrets(),
            }
            argv = [sys.executable, *program, "run"]
            process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
            try:
                assert api.stdout is not None
                assert api.stdout.readline().strip() == "polled"
                yield cls(process, run_dir, url)
            finally:
                process.terminate()
                process.wait(60)

    def run_session(self, body: Iterator[dict[str, Any]]) -> Run:
        """Have the worker run one session whose agent prints `body`; check what arrived."""
        lines = streams.write_stream(self._run_dir / "stream", body)
        json_s = [_json_s(lines)]
        before, task_id = ask(self._url, "/bench/arrived"), str(uuid.uuid4())
        cpu_s, system_s = self.cpu_s(), self.cpu_s(system_only=True)
        began_s = time.perf_counter()
        ask(self._url, "/bench/task", {"id": task_id, "task": "print the stream"})
        while task_id not in (after := ask(self._url, "/bench/arrived"))["finished"]:
            assert self._process.poll() is None, (self._run_dir / "worker.log").read_text()[-2000:]
            assert time.perf_counter() - began_s < WAIT_S, "the task does not finish"
            time.sleep(0.1)
        wall_s = time.perf_counter() - began_s
        time.sleep(0.5)
        cpu_s, system_s = self.cpu_s() - cpu_s, self.cpu_s(system_only=True) - system_s
        json_s.append(_json_s(lines))
        calls = sum('"tool_use"' in line for line in lines)
        told = {name: after[name] - before[name] for name in ("lines", "events")}
        assert told["lines"] == len(lines), (told, len(lines))
        assert told["events"] == 2 * calls + 2, (told, calls)
        assert not after["leaks"], "a secret has arrived"
        return Run(
            lines=len(lines),
            size=sum(len(line.encode()) + 1 for line in lines),
            cpu_s=cpu_s,
            system_s=system_s,
            json_s=statistics.mean(json_s),
            wall_s=wall_s,
            requests=sum(after["requests"].values()) - sum(before["requests"].values()),
        )

    def cpu_s(self, *, system_only: bool = False) -> float:
        """CPU seconds of the worker, its threads included, its children not."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(stat[11]), int(stat[12])
        return (system if system_only else user + system) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """The most memory that the worker ever had, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return round(int(peak.split()[1]) / 1024, 1)

    def stalls(self) -> dict[str, Any]:
        """The longest step of a watched worker's loop since the last question."""
        answer = self._run_dir / "stalls.json"
        self._process.send_signal(watched_worker.TELL_STALLS)
        for _ in range(1000):
            if answer.exists():
                told = dict(json.loads(answer.read_text()))
                answer.unlink()
                return told
            time.sleep(0.01)
        raise AssertionError("the watched worker does not answer")


def _json_s(lines: list[str]) -> float:
    """CPU seconds that ``json.loads`` takes for all lines: the least of three times."""
    times = []
    for _ in range(3):
        began_s = time.process_time()
        for line in lines:
            json.loads(line)
        times.append(time.process_time() - began_s)
    return min(times)


def main() -> None:
    """Measure one stream once, with a profile if asked: ``python -m benchmarks.pipeline -h``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stream", nargs="?", choices=[*STREAMS, "stalls"], default="tool_dense")
    parser.add_argument("--profile", type=Path, help="where cProfile writes; no figures then")
    options = parser.parse_args()
    if options.profile is not None:
        with (
            tempfile.TemporaryDirectory() as run_dir,
            Daemon.started(Path(run_dir), profile=options.profile) as it,
        ):
            it.run_session(STREAMS[options.stream]())
        return
    print(json.dumps(stalls() if options.stream == "stalls" else _measure(options.stream)))


if __name__ == "__main__":
    main()
