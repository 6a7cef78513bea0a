"""Old journals are deleted, oldest first; no needed one, and none of another worker."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import AGENT, harness, running_worker

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.journal import retention as rules
from agent_swarm_worker.journal.retention import DAY_S, Limits, choose, find
from agent_swarm_worker.logs import Event
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.worker.loops import housekeeping
from agent_swarm_worker.worker.loops.housekeeping import owner

NOW_S = time.time()
NO_LIMITS = Limits(total_bytes=0, age_s=0)


def journal(
    folder: Path, number: int, *, owned_by: str = "me", days_old: float = 1, size: int = 1000
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"2026-01-01T00-00-00-{number:03}Z-5a5a-{number:04}.jsonl"
    head = f'{{"type":"worker_metadata","owner":"{owned_by}","sessionId":"s"}}\n'
    path.write_text((head if owned_by else "{}\n").ljust(size - 1) + "\n")
    os.utime(path, (NOW_S, NOW_S - days_old * DAY_S))
    return path


def gone(place: Path, limits: Limits, *needed: str, is_ours_alone: bool = False) -> list[str]:
    """Return the numbers of the journals that would be deleted, in order."""
    chosen = choose(find({place: is_ours_alone}, "me"), limits, needed=needed, now_s=NOW_S)
    return [path.stem[-4:] for journals, _ in chosen for path in journals.paths]


def test_the_oldest_go_until_the_rest_fits(tmp_path: Path):
    for number in range(6):
        journal(tmp_path / str(number % 2), number, days_old=10 - number)
    assert gone(tmp_path, Limits(total_bytes=6000, age_s=0)) == []
    assert gone(tmp_path, Limits(total_bytes=4500, age_s=0)) == ["0000", "0001"]
    assert gone(tmp_path, NO_LIMITS) == []


def test_the_old_go_whatever_the_rest_takes(tmp_path: Path):
    for number in range(4):
        journal(tmp_path / "x", number, days_old=number * 10 + 1)
    assert gone(tmp_path, Limits(total_bytes=0, age_s=15 * DAY_S)) == ["0003", "0002"]
    both = Limits(total_bytes=1000, age_s=25 * DAY_S)
    assert gone(tmp_path, both) == ["0003", "0002", "0001"]


def test_what_is_needed_stays_and_what_has_just_begun(tmp_path: Path):
    needed = journal(tmp_path / "x", 0, days_old=9).name
    journal(tmp_path / "x", 1, days_old=8)
    journal(tmp_path / "x", 2, days_old=0)
    assert gone(tmp_path, Limits(total_bytes=1, age_s=1), needed) == ["0001"]


def test_a_journal_and_its_second_file_are_one(tmp_path: Path):
    first = journal(tmp_path / "x", 0, days_old=9)
    second = first.with_stem(first.stem + "-fresh")
    second.write_text('{"type":"fresh_session"}\n' * 100)
    assert gone(tmp_path, Limits(total_bytes=1, age_s=0)) == []  # the second is young
    os.utime(second, (NOW_S, NOW_S - 5 * DAY_S))
    (found,) = find({tmp_path: False}, "me")
    assert found.size_bytes == 1000 + second.stat().st_size
    limits = Limits(total_bytes=1, age_s=0)
    for needed in (first, second):
        assert choose([found], limits, needed=[needed.name], now_s=NOW_S) == []
    assert len(choose([found], limits, needed=[], now_s=NOW_S)) == 1


def test_nobody_elses_files_are_touched(tmp_path: Path):
    folder = tmp_path / "x"
    mine = journal(folder, 0)
    journal(folder, 1, owned_by="you")
    journal(folder, 2, owned_by="")
    (folder / "notes.jsonl").write_text(mine.read_text())
    mine.rename(tmp_path / mine.name)  # not where journals lie
    (folder / mine.name).symlink_to(tmp_path / mine.name)
    (tmp_path / "linked").symlink_to(folder)
    pipe = folder / mine.name.replace("0000", "0009")
    os.mkfifo(pipe)
    os.utime(pipe, (1, 1))
    second = mine.with_stem(mine.stem + "-fresh")
    (folder / second.name).write_text("of a link\n")
    os.utime(folder / second.name, (1, 1))
    limits = Limits(total_bytes=1, age_s=1)
    assert gone(tmp_path, limits) == []
    # In the worker's own directory those of earlier versions, which name nobody, are its own.
    assert gone(tmp_path, limits, is_ours_alone=True) == ["0002"]
    assert find({tmp_path / "nowhere": True}, "me") == []


def test_the_owner_is_made_up_once_per_state_directory(tmp_path: Path):
    ids = iter(["one", "two"])
    for _ in range(2):
        with StateDir.open(tmp_path, AGENT, clock=SystemClock()) as state:
            assert owner(state, lambda: next(ids)) == "one"
    with StateDir.open(tmp_path / "other", AGENT, clock=SystemClock()) as state:
        assert owner(state, lambda: next(ids)) == "two"


@pytest.mark.long
@pytest.mark.anyio
async def test_a_worker_deletes_what_has_arrived_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rules, "YOUNG_S", 0)
    monkeypatch.setattr(housekeeping, "INTERVAL_S", 0.02)
    shared = tmp_path / "shared"
    other = journal(shared / "other", 1, owned_by="you", days_old=99)
    env = {"SWARM_JOURNALS_MAX_DAYS": "0.000001", "LOG_DIR": str(shared), "SESSION_ID": "run"}

    def journals() -> list[Path]:
        return sorted((shared / "run").glob("*.jsonl"))

    looks: list[float] = []
    choose = housekeeping.choose

    def noted(*args: Any, **more: Any) -> Any:
        looks.append(more["now_s"])
        return choose(*args, **more)

    monkeypatch.setattr(housekeeping, "choose", noted)

    async def old_enough(path: Path) -> bool:
        """True after two looks at a journal that is past its time."""
        return sum(now_s > path.stat().st_mtime + 0.2 for now_s in looks) >= 2

    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/api/session-logs", 503)
        async with running_worker(rig, {**harness("says_hi"), **env}):
            task_id = await rig.submit()

            async def has_ended() -> bool:
                return bool(rig.logged(Event.SESSION_ENDED) and proxy.seen("/api/session-logs"))

            await rig.until(has_ended)
            (kept,) = journals()

            looks.clear()
            await rig.until(lambda: old_enough(kept))
            assert journals() == [kept]
            proxy.be_open()
            await rig.until_ended(task_id)

            async def is_gone() -> bool:
                return not journals()

            await rig.until(is_gone)
            await until(lambda: rig.logged(Event.JOURNAL_REMOVED))
            (told,) = rig.logged(Event.JOURNAL_REMOVED)
            assert (told["path"], told["why"]) == (str(kept), "older than 1e-06 days")
            assert (await rig.lines(task_id))[0]["type"] == "system"
        assert other.exists()
        async with running_worker(rig, {**harness("chats", 1), **env}):
            task_id = await rig.submit()
            await rig.until(lambda: rig.logs(task_id))
            (written,) = journals()
            looks.clear()
            await rig.until(lambda: old_enough(written))
            assert journals() == [written]
