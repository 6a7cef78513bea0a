"""The health check fails for a dead, stopped or blocked worker, not for a waiting one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_rig import COMMAND, Box
from patience import until_blocking

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.state.liveness import look, stamp


@pytest.fixture
def worker(box: Box) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that waits for an API that refuses to register it."""
    with (box.place / "said").open("wb") as said:
        process = subprocess.Popen(
            [*COMMAND, "worker"],
            env={**box.env, "MCP_BASE_URL": "http://127.0.0.1:9"},
            cwd=box.place,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def health(box: Box, *words: str, **more: str) -> tuple[int, str]:
    done = box.call([*COMMAND, "health", *words], **more)
    assert len(done.out.splitlines()) == 1, done.out + done.err
    return done.code, done.out


def test_a_worker_is_alive_from_its_first_second_until_it_is_stuck_or_gone(
    box: Box, worker: subprocess.Popen[bytes]
):
    until_blocking(lambda: list(box.place.rglob("alive")), within_s=30)
    code, said = health(box)
    assert code == 0
    assert said.startswith(f"alive: process {worker.pid}, ")
    assert health(box, AGENT_ID="")[0] == 0, "a chart's probe may not know the id"
    worker.send_signal(signal.SIGSTOP)
    until_blocking(lambda: health(box, "--max-age-s", "1")[0] == 1, within_s=30)
    assert "was last heard of" in health(box, "--max-age-s", "1")[1]
    worker.send_signal(signal.SIGCONT)
    until_blocking(lambda: health(box, "--max-age-s", "30")[0] == 0, within_s=30)
    worker.kill()
    worker.wait()
    assert health(box) == (1, f"not alive: process {worker.pid} is gone\n")


def test_before_any_worker_nothing_is_alive(box: Box):
    code, said = health(box)
    assert code == 1
    assert "no worker has ever run" in said
    assert health(box, AGENT_ID="")[0] == 1
    assert not list(box.place.rglob("lock")), "looking must not leave anything behind"


def test_a_stamp_of_an_earlier_life_does_not_count(tmp_path: Path):
    with StateDir.open(tmp_path, "a", clock=SystemClock()) as state:
        [found] = look(tmp_path, "a", now_epoch_s=1000.0)
        assert (found.pid, found.age_s) == (os.getpid(), None)
        assert not found.is_alive(60)
        stamp(state.path)
        os.utime(state.path / "alive", (1000, 1000))
        [found] = look(tmp_path, "a", now_epoch_s=1059.0)
        assert found.is_alive(60)
        [found] = look(tmp_path, "a", now_epoch_s=1061.0)
        assert not found.is_alive(60)
        [found] = look(tmp_path, "a", now_epoch_s=500.0)
        assert not found.is_alive(60), "a clock that was set back"


@pytest.mark.parametrize("content", ["", "abc", "-1", "99999999999999999999", "0x10"])
def test_a_lock_file_with_anything_in_it_is_no_traceback(tmp_path: Path, content: str):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "lock").write_text(content)
    [found] = look(tmp_path, None, now_epoch_s=0.0)
    assert not found.is_alive(60)


def test_the_api_can_be_asked_for_as_well(box: Box):
    assert health(box, "--api")[0] == 0
    assert health(box, "--api", MCP_BASE_URL="http://127.0.0.1:9")[0] == 1
