"""A kill between queuing a line and moving its cursor does not queue the line again."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.state.directory import Claim, StateDir

JOURNAL = "/journals/one.jsonl"


def opened(place: Path) -> StateDir:
    return StateDir.open(place, "agent", clock=SystemClock())


def offset_after(place: Path, *queued: bytes) -> int:
    """Queue lines without noting it, as a process that is killed in between, and start again."""
    with opened(place) as state:
        state.claim(
            Claim(
                task_id="task",
                session_uuid="session",
                harness="played",
                log_file=Path(JOURNAL),
                started_at="2026-01-01T00:00:00.000Z",
                log_offset=100,
            )
        )
        for args in queued:
            state.database.run(
                "INSERT INTO outbox (lane, kind, args) VALUES ('t', 'logs', ?)", args
            )
    with opened(place) as state:
        (claim,) = state.running()
        return claim.log_offset


def lines(path: str = JOURNAL, session: str = "session", end: object = 250) -> bytes:
    return f'{{"path":"{path}","session_uuid":"{session}","start":100,"end":{end}}}'.encode()


def test_the_cursor_goes_on_behind_what_is_queued(tmp_path: Path):
    assert offset_after(tmp_path, lines(end=250), lines(end=200)) == 250


@pytest.mark.parametrize(
    "other",
    [
        lines(path="/journals/two.jsonl"),
        lines(session="another"),
        lines(end=99),
        lines(end='"x"'),
        b"{}",
        b"[]",
        b"not JSON",
    ],
)
def test_it_stays_where_it_is_for_anything_else(tmp_path: Path, other: bytes):
    assert offset_after(tmp_path, other) == 100
