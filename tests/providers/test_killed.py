"""A harness that was killed says so, and that memory was short where the kernel counts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from session_config import session_config

from agent_swarm_worker.contract import ProviderResult
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.providers.subprocess.translate import SubprocessTranslator

pytestmark = pytest.mark.anyio

CHILD = """
import os, signal, sys
if len(sys.argv) > 1:
    open(sys.argv[1], "w").write("low 0\\noom_kill 3\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["v2", "v1", "v2 of a host"])
def counter(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The file of the kernel's count, which is 2."""
    group = {"v1": "9:name=systemd:/\n4:memory:/a/b\n0::/\n", "v2": "0::/a/b\n"}
    file = {"v1": "memory/a/b/memory.oom_control", "v2": "a/b/memory.events"}
    monkeypatch.setattr(procfs, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(procfs, "ROOT", tmp_path / "cgroup")
    (tmp_path / "membership").write_text(group.get(request.param, "0::/of/the/host\n"))
    counter = tmp_path / "cgroup" / file.get(request.param, "memory.events")
    counter.parent.mkdir(parents=True)
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    return counter


async def ran(place: Path, harness: str, *args: str) -> ProviderResult:
    config = session_config(place, env={"PATH": "/usr/bin:/bin"})
    argv = (sys.executable, "-S", "-c", CHILD, *args)
    launch = Launch(argv=argv, env=config.env, cwd=config.cwd)
    claude = ClaudeTranslator(config)
    translator = claude if harness == "claude" else SubprocessTranslator("text", claude)
    session = CliSession(config, lambda _: CliHarness(launch=launch, translator=translator))
    return await session.wait_for_completion()


@pytest.mark.parametrize("harness", ["claude", "subprocess"])
async def test_a_killed_harness_says_so(harness: str, tmp_path: Path, counter: Path):
    result = await ran(tmp_path, harness)
    assert (result.is_error, result.error_category) == (True, "killed")
    assert "was killed (SIGKILL, exit code 137)" in (result.failure_reason or "")
    assert "memory" not in (result.failure_reason or "")


@pytest.mark.parametrize("harness", ["claude", "subprocess"])
async def test_a_harness_killed_for_lack_of_memory_says_so(
    harness: str, tmp_path: Path, counter: Path
):
    result = await ran(tmp_path, harness, str(counter))
    assert (result.is_error, result.error_category) == (True, "out_of_memory")
    assert "was killed for lack of memory" in (result.failure_reason or "")


def test_a_machine_without_a_count_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(procfs, "MEMBERSHIP", tmp_path / "none")
    assert procfs.oom_kills() == 0
