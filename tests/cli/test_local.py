"""``swarm-worker local`` as a process: serving, refused bindings, stopping."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from cli_rig import KEY, local_swarm, stop
from patience import HANG_S

from agent_swarm_worker.cli.app import main

Capture = pytest.CaptureFixture[str]
BEARER = {"Authorization": f"Bearer {KEY}"}


def tasks(url: str) -> list[str]:
    answer = httpx2.get(f"{url}/api/tasks", headers=BEARER)
    return [task["task"] for task in answer.json()["tasks"]]


def submit(url: str, text: str) -> None:
    body = {"task": text}
    httpx2.post(f"{url}/api/tasks", json=body, headers=BEARER).raise_for_status()


@pytest.mark.long
def test_it_serves_on_a_free_port_and_says_where(tmp_path: Path):
    with local_swarm(tmp_path) as (url, _, said):
        assert httpx2.get(f"{url}/health").json()["status"] == "ok"
        assert httpx2.get(f"{url}/api/tasks").status_code == 401
        submit(url, "a first task")
        assert tasks(url) == ["a first task"]
        ready, *banner = said().splitlines()
    assert json.loads(ready)["event"] == "local.ready"
    assert json.loads(ready)["url"] == url
    assert len(banner) == 2
    assert KEY not in said()
    assert (tmp_path / "swarm-local.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.long
def test_it_says_where_even_if_it_logs_nothing(tmp_path: Path):
    with local_swarm(tmp_path, "--db", ":memory:", SWARM_LOG_LEVEL="error") as (url, _, said):
        assert "local.ready" not in said()
        assert httpx2.get(f"{url}/health").status_code == 200
    assert not (tmp_path / "swarm-local.sqlite").exists()


def test_its_log_can_be_asked_to_be_readable(tmp_path: Path):
    with local_swarm(tmp_path, SWARM_LOG_FORMAT="human") as (_, _, said):
        assert " • local.ready  url=http" in said()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(n, marks=pytest.mark.long) for n in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_ends_it_cleanly_and_at_once(tmp_path: Path, number: signal.Signals):
    with local_swarm(tmp_path) as (url, process, said):
        submit(url, "kept")
        # A caller that keeps its connection open does not hold it up.
        with httpx2.Client() as client:
            client.get(f"{url}/health")
            before = said()
            code, took_s = stop(process, number)
        assert code == 128 + number
        assert took_s < HANG_S
        assert said() == before
    # Closed, not just dropped: everything is in the one file.
    assert [path.name for path in tmp_path.glob("swarm-local*")] == ["swarm-local.sqlite"]


@pytest.mark.long
def test_a_signal_that_was_ignored_at_the_start_is_ignored_still(tmp_path: Path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with local_swarm(tmp_path) as (url, process, _):
            process.send_signal(signal.SIGHUP)
            assert httpx2.get(f"{url}/health").status_code == 200
            assert stop(process, signal.SIGTERM)[0] == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.long
def test_what_it_stored_survives_a_kill(tmp_path: Path):
    with local_swarm(tmp_path) as (url, process, _):
        submit(url, "kept")
        assert stop(process, signal.SIGKILL)[0] == -signal.SIGKILL
    with local_swarm(tmp_path) as (url, _, _):
        assert tasks(url) == ["kept"]


# --- what it refuses, each in one line
Refused = Callable[..., tuple[int, str]]


@pytest.fixture
def refused(env: dict[str, str], capsys: Capture, tmp_path: Path) -> Refused:
    def call(*words: str) -> tuple[int, str]:
        code = main(["local", "--db", str(tmp_path / "refused.sqlite"), *words])
        said = capsys.readouterr()
        assert not said.out
        assert said.err.startswith("swarm-worker: ")
        return code, said.err

    return call


def test_a_port_that_is_taken(refused: Refused):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = refused("--port", str(port))
    assert code == 78
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_no_key_away_from_loopback(refused: Refused, host: str):
    code, said = refused("--host", host, "--port", "0")
    assert code == 78
    assert "without an API key" in said
    assert said.count("\n") == 1


def test_an_address_that_is_not_ours(refused: Refused, env: dict[str, str]):
    env["API_KEY"] = KEY
    code, said = refused("--host", "192.0.2.1", "--port", "0")
    assert code == 78
    assert "192.0.2.1" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("path", ["a-file/below.sqlite", "a-directory", "a-file"])
def test_a_database_that_cannot_be_written(refused: Refused, tmp_path: Path, path: str):
    (tmp_path / "a-file").write_text("this is no database, and long enough to show it" * 10)
    (tmp_path / "a-directory").mkdir()
    code, said = refused("--db", str(tmp_path / path), "--port", "0")
    assert code == 1
    assert path in said
    assert "cannot be written" in said


@pytest.mark.long
def test_a_database_that_another_one_uses(refused: Refused, tmp_path: Path):
    with local_swarm(tmp_path) as (_, _, _):
        code, said = refused("--db", str(tmp_path / "swarm-local.sqlite"), "--port", "0")
    assert code == 1
    assert "in use" in said


@pytest.mark.parametrize("port", ["-1", "65536", "many", "80.5", ""])
def test_a_port_that_is_none(env: dict[str, str], capsys: Capture, port: str):
    assert main(["local", "--port", port]) == 2
    assert "--port" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "agent_swarm_worker.local_swarm.serve", None)
    code, said = refused()
    assert code == 78
    assert "pip install 'agent-swarm-worker[local]'" in said
