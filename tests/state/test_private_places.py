"""What the worker keeps can be read by nobody else, from the first byte on."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from agent_swarm_worker.api.http import MAX_MESSAGE_CHARS, read_answer
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ApiRefused, StateUnwritable
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.codex.agents_md import AgentsMd
from agent_swarm_worker.sandboxes.local import LocalGuest
from agent_swarm_worker.state.directory import StateDir, generated_agent_id
from agent_swarm_worker.worker.run.launch_files import PROBE_BYTES, private_dir
from agent_swarm_worker.workspace.git import _error_line, without_credentials

STRANGER = 12345


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(place: Path) -> list[str]:
    return [
        f"{path.relative_to(place)} {path.stat().st_mode & 0o777:o}"
        for path in place.rglob("*")
        if path.stat().st_mode & 0o077
    ]


def test_state_is_private_whatever_the_umask(tmp_path: Path):
    root = tmp_path / "made" / "by" / "us"
    generated_agent_id(root, lambda: "0a9e0000-0000-4000-8000-000000000009")
    with StateDir.open(root, "agent", clock=SystemClock()) as state:
        state.note("name", "value")
        assert {path.name for path in state.path.glob("worker.sqlite*")} >= {
            "worker.sqlite",
            "worker.sqlite-wal",
        }
        assert open_to_others(tmp_path) == ["made/by/us/agent-id 666"]  # everybody may know it


def test_an_older_database_that_others_could_read_is_closed_to_them(tmp_path: Path):
    with StateDir.open(tmp_path / "state", "agent", clock=SystemClock()) as state:
        file = state.path / "worker.sqlite"
    file.chmod(0o644)
    with StateDir.open(tmp_path / "state", "agent", clock=SystemClock()):
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_journal_is_private_and_follows_no_link(tmp_path: Path):
    path = tmp_path / "logs" / "session" / "a.jsonl"
    journal = Journal(path)
    journal.append([b"{}"])
    assert not open_to_others(tmp_path)
    assert journal.close()
    bait = tmp_path / "bait"
    path.unlink()
    path.symlink_to(bait)
    trapped = Journal(path)
    trapped.append([b"{}"])
    assert not trapped.close()
    assert not bait.exists()


@pytest.mark.parametrize("trap", ["directory", "link", "root"])
def test_a_place_that_a_stranger_prepared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
):
    """As in a shared ``/tmp``: whoever owns the directory reads, and replaces, what is in it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    root = shared / "state" if trap == "root" else shared
    place = root if trap == "root" else root / "agent"
    if trap == "link":
        (tmp_path / "lair").mkdir(mode=0o777)
        place.symlink_to(tmp_path / "lair")
    else:
        place.mkdir(mode=0o777)
    if os.geteuid() == 0:
        os.lchown(place, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(StateUnwritable, match="another user"):
        StateDir.open(root, "agent", clock=SystemClock())
    assert not (tmp_path / "lair" / "worker.sqlite").exists()
    shared.chmod(0o755)  # where strangers can put nothing, an odd owner is the volume's
    StateDir.open(root, "agent", clock=SystemClock()).close()


def test_missing_folders_are_private_and_those_that_are_there_stay_as_they_are(tmp_path: Path):
    (tmp_path / "theirs").mkdir(mode=0o755)
    make_private_dir(tmp_path / "theirs" / "a" / "b")
    assert open_to_others(tmp_path) == ["theirs 755"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exist|directory"):
        make_private_dir(tmp_path / "file" / "a")


def test_a_session_directory_is_private_at_every_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also while it is tried how much fits in, which is where a full disk stops it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spare"))
    seen: list[str] = []
    really_remove = shutil.rmtree

    def remove(path: Path, **options: bool) -> None:
        seen.extend([path.name, *open_to_others(tmp_path)])
        really_remove(path, **options)

    monkeypatch.setattr("agent_swarm_worker.worker.run.launch_files.shutil.rmtree", remove)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PROBE_BYTES // 2, limits[1]))
    try:
        with (
            pytest.raises(StateUnwritable),
            private_dir(tmp_path / "state" / "sessions", "mine", log=Log()),
        ):
            pytest.fail("there is no room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [name.rpartition("-")[2] for name in seen] == ["mine", "mine"]  # there and at the spare
    with private_dir(tmp_path / "sessions", "mine", log=Log()):
        assert open_to_others(tmp_path) == []


@pytest.mark.anyio
async def test_nobody_else_reaches_what_is_remembered_of_a_repository(tmp_path: Path):
    (folder := tmp_path / "repository").mkdir()
    agents_md = AgentsMd(
        LocalGuest("session"), folder, "session", tmp_path / "home", clock=SystemClock()
    )
    await agents_md.insert("the system prompt")
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "home").glob("*")] == [0o700]
    await agents_md.remove()


KEY = "key-that-is-quoted-back-0123456789"


def test_a_secret_in_a_long_complaint_is_not_cut_in_half():
    for room in range(0, 320, 7):
        assert_not_cut(room)


def assert_not_cut(room: int) -> None:
    said = {"error": f"{'x ' * (room // 2)}{KEY} and more {'y' * 400}"}
    with pytest.raises(ApiRefused) as refusal:
        read_answer("u", 400, "", orjson.dumps(said))
    assert len(refusal.value.message) <= MAX_MESSAGE_CHARS + 1
    told = without_credentials(_error_line(f"error: {said['error']}\n"))
    for text in (refusal.value.message, told):
        assert KEY[:6] not in text.replace(KEY, "")
