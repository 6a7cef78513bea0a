"""Measure an idle worker: time to its first poll, memory, CPU.

A ``swarm-worker worker`` process with an API in another process: several starts of two
harnesses, and one of each for its memory. Their programs are stand-ins that print a version.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agent_swarm_worker.providers.registry import spec_of, supported_providers
from benchmarks.sink import sink

HARNESSES = {
    "subprocess": {"HARNESS_COMMAND": "cat"},
    "pi": {
        "ANTHROPIC_API_KEY": "bench-model-key-0123456789",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",  # no vendor is asked
    },
}
STARTS = 5
IDLE_S = 10.0
KEY = "bench-model-key-0123456789"


def measure() -> dict[str, Any]:
    """Measure a worker of each harness, none of which is used."""
    timed = {name: _measure({"HARNESS_PROVIDER": name, **env}) for name, env in HARNESSES.items()}
    return {**timed, "idle_rss_mb_by_harness": measure_memory()}


def measure_memory(*names: str) -> dict[str, float]:
    """Return the resident MiB of an idle worker of each harness."""
    found = {}
    for name in names or supported_providers():
        with tempfile.TemporaryDirectory() as programs:
            env = {"HARNESS_PROVIDER": name, **_stand_in(name, Path(programs))}
            found[name] = float(_measure(env, starts=1)["idle_rss_mb"])
    return found


def _stand_in(name: str, folder: Path) -> dict[str, str]:
    """Return the settings with which a harness could start: a program, and a credential."""
    spec = spec_of(name)
    env = dict.fromkeys(spec.credentials.variables[:1], KEY)
    bases = {service.base_url_variable for service in spec.credentials.services}
    env |= dict.fromkeys(filter(None, bases), "http://127.0.0.1:1")  # no vendor is asked
    program = folder / (spec.program.name if spec.program else "agent")
    program.write_text("#!/bin/sh\necho 1.0\n")
    program.chmod(0o755)
    env |= {"HARNESS_COMMAND": str(program), "ACP_TARGET_COMMAND": str(program)}
    return {**env, "PATH": f"{folder}:{os.environ['PATH']}"}


def _measure(harness: dict[str, str], *, starts: int = STARTS) -> dict[str, Any]:
    """Start it several times; let the last one idle."""
    first_poll_s, rss_mb, cpu_share = [], 0.0, 0.0
    for number in range(starts):
        with sink() as (url, api), tempfile.TemporaryDirectory() as run_dir:
            started_s = time.perf_counter()
            worker = _start(url, run_dir, harness)
            try:
                assert api.stdout is not None
                assert api.stdout.readline().strip() == "polled"
                first_poll_s.append(time.perf_counter() - started_s)
                if number == starts - 1:
                    rss_mb, cpu_share = _idle(worker.pid)
            finally:
                worker.terminate()
                worker.wait(10)
    return {
        "start_to_first_poll_s": round(statistics.median(first_poll_s), 3),
        "start_to_first_poll_s_all": [round(value, 3) for value in first_poll_s],
        "idle_rss_mb": rss_mb,
        "idle_cpu_percent": cpu_share,
    }


def _start(url: str, run_dir: str, harness: dict[str, str]) -> subprocess.Popen[bytes]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": run_dir,
        "MCP_BASE_URL": url,
        "API_KEY": "bench-key-0123456789",
        "AGENT_ID": "bench-agent",
        "SWARM_STATE_DIR": run_dir,
        "SWARM_LOG_LEVEL": "error",
        **harness,
    }
    return subprocess.Popen([sys.executable, "-m", "agent_swarm_worker", "worker"], env=env)


def _idle(pid: int) -> tuple[float, float]:
    """Return resident MiB and the share of one core in percent, over a while of doing nothing."""
    time.sleep(2)
    before = _cpu_s(pid)
    time.sleep(IDLE_S)
    share = (_cpu_s(pid) - before) / IDLE_S * 100
    status = Path(f"/proc/{pid}/status").read_text()
    resident_kb = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
    return round(resident_kb / 1024, 1), round(share, 2)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
