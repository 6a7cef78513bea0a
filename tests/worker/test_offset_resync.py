"""After a power cut the upload offset is taken from the server, and a torn line is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_swarm_worker.api.wire.resources import LogEntry
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ApiUnreachable
from agent_swarm_worker.journal.files import number_of_rest
from agent_swarm_worker.logs import Log
from agent_swarm_worker.outbox.uploads import HEAD_CHARS, TAIL_CHARS, shortened
from agent_swarm_worker.state.directory import Claim, StateDir
from agent_swarm_worker.worker.recovery.upload_cursor import with_resynced_cursor

pytestmark = pytest.mark.anyio

HEAD = b'{"type":"worker_metadata"}\n'
LINES = [f'{{"n":{number}}}' for number in range(10)]
BODY = "".join(f"{line}\n" for line in LINES).encode()
ITERATION = 3


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    with StateDir.open(tmp_path / "state", "agent", clock=SystemClock()) as state:
        state.was_rebooted = True
        yield state


def after(count: int) -> int:
    """Return the offset behind so many lines."""
    return len(HEAD) + sum(len(line) + 1 for line in LINES[:count])


def entry(number: int, line: int, content: str, uuid: str = "s") -> LogEntry:
    return LogEntry(session_id=uuid, iteration=number, line_number=line, content=content)


def request(first: int, count: int, *, number: int | None = None, uuid: str = "s") -> list[Any]:
    """Return stored lines, as one request of the session has sent them."""
    number = ITERATION + after(first) - len(HEAD) if number is None else number
    return [entry(number, n, LINES[first + n], uuid) for n in range(count)]


async def found(
    state: StateDir, tmp_path: Path, stored: Any, *, body: bytes = BODY, offset: int = len(HEAD)
) -> int:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(HEAD + body)
    claim = Claim(
        task_id="t",
        session_uuid="s",
        harness="claude",
        log_file=journal,
        log_offset=offset,
        iteration=ITERATION,
        started_at="2026-01-01T00:00:00Z",
        tag="s",
        phase="running",
    )
    state.claim(claim)

    async def session_logs(_: str) -> Any:
        if isinstance(stored, Exception):
            raise stored
        return stored

    client: Any = SimpleNamespace(tasks=SimpleNamespace(session_logs=session_logs))
    moved = await with_resynced_cursor(claim, state=state, client=client, log=Log())
    (kept,) = state.running()
    assert kept.log_offset == moved.log_offset
    return moved.log_offset


async def test_it_is_behind_the_newest_stored_line(tmp_path: Path, state: StateDir):
    assert await found(state, tmp_path, []) == after(0)
    assert await found(state, tmp_path, request(0, 4)) == after(4)
    assert await found(state, tmp_path, [*request(0, 4), *request(4, 3)]) == after(7)
    assert await found(state, tmp_path, request(4, 3)[:2]) == after(6), "a request in part"
    assert await found(state, tmp_path, request(0, 4, uuid="another")) == after(0)


async def test_it_never_goes_back(tmp_path: Path, state: StateDir):
    assert await found(state, tmp_path, request(0, 4), offset=after(6)) == after(6)
    away = ApiUnreachable("http://x", "refused", ambiguous=False)
    assert await found(state, tmp_path, away, offset=after(6)) == after(6)


async def test_what_a_recovery_has_sent_is_numbered_otherwise(tmp_path: Path, state: StateDir):
    again = request(4, 3, number=number_of_rest(ITERATION, after(4)))
    assert await found(state, tmp_path, [*request(0, 4), *again]) == after(7)


async def test_other_words_at_that_place_say_nothing(tmp_path: Path, state: StateDir):
    strange = [entry(ITERATION + after(4) - len(HEAD), 0, "other words")]
    assert await found(state, tmp_path, [*request(0, 2), *strange]) == after(2)


async def test_secrets_the_server_took_out_are_no_other_words(tmp_path: Path, state: StateDir):
    hidden = entry(ITERATION, 0, '{"n":[REDACTED:x]}')
    assert await found(state, tmp_path, [hidden]) == after(1)


async def test_a_long_line_is_known_by_its_place(tmp_path: Path, state: StateDir):
    long = '{"x":"' + "y" * (HEAD_CHARS + TAIL_CHARS) + '"}'
    body = f"{long}\n".encode() + BODY
    sent = entry(ITERATION, 0, shortened(long))
    assert await found(state, tmp_path, [sent], body=body) == len(HEAD) + len(long) + 1


@pytest.mark.parametrize("kept", [0, 1, 4])
async def test_a_journal_that_became_shorter_is_on_the_server(
    tmp_path: Path, state: StateDir, kept: int
):
    body = BODY[: after(kept) - len(HEAD)]
    stored = [*request(0, 1), *request(1, 4), *request(5, 5)]
    assert await found(state, tmp_path, stored, body=body) == after(kept)
    assert await found(state, tmp_path, stored, body=body, offset=after(9)) == after(kept)


@pytest.mark.parametrize(
    "torn",
    [b"", b"\0", b"\0" * 200_000, b'{"n":', b'{"n":' + b"\0" * 5000, b"x" * 200_000],
    ids=["nothing", "a zero", "zeros", "half a line", "half a line and zeros", "a long half"],
)
async def test_what_is_torn_is_cut_off(tmp_path: Path, state: StateDir, torn: bytes):
    assert await found(state, tmp_path, request(0, 3), body=BODY + torn) == after(3)
    assert (tmp_path / "journal.jsonl").read_bytes() == HEAD + BODY
