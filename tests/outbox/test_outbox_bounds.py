"""The outbox has a limit: what goes first, what never goes, and what an outage of days costs."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import orjson
import pytest
from fake_api import Answer, FakeClock, Hang, Reply, Request, Reset, serving
from outbox_rig import delivering, running_outbox, stopped_outbox, stored
from patience import until
from structlog.testing import capture_logs

from agent_swarm_worker.outbox.queue import Queue, WriteKind

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.state.database import Database

LOGS = "POST /api/session-logs"
EVICTION_ORDER = (WriteKind.CONTEXT, WriteKind.EVENTS, WriteKind.LOGS, WriteKind.PROGRESS)


def kinds(database: Database) -> dict[str, int]:
    return dict(collections.Counter(kind for (kind,) in database.run("SELECT kind FROM outbox")))


def filled(queue: Queue, kind: WriteKind, *, times: int = 40) -> None:
    """Put about 40 kB of one kind, spread over lanes so that no two make one."""
    for number in range(times):
        queue.add(f"t-{number}", kind, {"n": number, "x": "y" * 900})


@pytest.mark.parametrize("step", range(len(EVICTION_ORDER)))
def test_a_full_outbox_gives_up_what_matters_least(tmp_path: Path, step: int) -> None:
    goes, stay = EVICTION_ORDER[step], EVICTION_ORDER[step + 1 :]
    with stored(tmp_path, FakeClock()) as database, capture_logs() as lines:
        queue = Queue(database, max_bytes=50_000 + 41_000 * len(stay))
        for kind in reversed(EVICTION_ORDER[step:]):
            filled(queue, kind)
        for number in range(20):
            queue.add("t", WriteKind.COST, {"n": number, "x": "y" * 900})
        left = kinds(database)
        kept = [
            number
            for (number,) in database.run(
                "SELECT json_extract(args, '$.n') FROM outbox WHERE kind = ? ORDER BY id", goes
            )
        ]
    assert {line["kind"] for line in lines} == {goes}
    assert left["cost"] == 20
    assert {left[kind] for kind in stay} <= {40}
    assert 0 < len(kept) < 40, "not more than need be"
    assert kept == list(range(40 - len(kept), 40)), "the oldest go first"


@pytest.mark.parametrize("kind", sorted(set(WriteKind) - set(EVICTION_ORDER)))
def test_a_full_outbox_never_gives_up_what_is_said_once(tmp_path: Path, kind: WriteKind) -> None:
    with stored(tmp_path, FakeClock()) as database, capture_logs() as lines:
        queue = Queue(database, max_bytes=1000)
        filled(queue, kind, times=20)
        assert queue.count() == 20
    assert not lines


# --- ranges of journals
def range_of(file: Path | str, start: int, end: int, **more: Any) -> dict[str, Any]:
    args = {"path": str(file), "start": start, "end": end, "iteration": 1 + start}
    return args | {"session_uuid": "s", "cli": "claude", "task_id": "t"} | more


def ranges(database: Database) -> list[tuple[int, int, int]]:
    rows = database.run("SELECT args FROM outbox WHERE kind = 'logs' ORDER BY id")
    found = [orjson.loads(data) for (data,) in rows]
    return [(args["start"], args["end"], args["iteration"]) for args in found]


def test_ranges_that_touch_wait_as_one_but_for_the_one_under_way(tmp_path: Path) -> None:
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        for start in range(0, 1000, 10):
            queue.add("t", WriteKind.LOGS, range_of("a", start, start + 10))
            queue.add("t", WriteKind.EVENTS, {"events": []})
        assert ranges(database) == [(0, 10, 1), (10, 1000, 11)]


@pytest.mark.parametrize(
    "next_",
    [
        range_of("b", 20, 30),
        range_of("a", 25, 30),
        range_of("a", 20, 30, iteration=2**20),
        range_of("a", 20, 30, session_uuid="other"),
        range_of("a", 20, 30, task_id=None),
        {"text": "x", "iteration": 21, "session_uuid": "s", "cli": "claude", "task_id": "t"},
    ],
)
def test_only_neighbours_are_joined(tmp_path: Path, next_: dict[str, Any]) -> None:
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        queue.add("t", WriteKind.LOGS, range_of("a", 0, 10))
        queue.add("t", WriteKind.LOGS, range_of("a", 10, 20))
        queue.add("t", WriteKind.LOGS, next_)
        assert queue.count() == 3


def test_nothing_is_joined_across_a_result_or_with_what_may_have_arrived(tmp_path: Path) -> None:
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        queue.add("t", WriteKind.LOGS, range_of("a", 0, 10))
        queue.add("t", WriteKind.LOGS, range_of("a", 10, 20))
        queue.add("t", WriteKind.FINISH, {})
        queue.add("t", WriteKind.LOGS, range_of("a", 20, 30))
        assert ranges(database) == [(0, 10, 1), (10, 20, 11), (20, 30, 21)]
        (last,) = database.run("SELECT max(id) FROM outbox")[0]
        database.run("UPDATE outbox SET uncertain = 1 WHERE id = ?", last)
        queue.add("t", WriteKind.LOGS, range_of("a", 30, 40))
        database.run("UPDATE outbox SET sent = 5 WHERE id > ?", last)
        queue.add("t", WriteKind.LOGS, range_of("a", 40, 50))
        assert ranges(database)[2:] == [(20, 30, 21), (30, 40, 31), (40, 50, 41)]


def test_a_row_of_another_version_is_nobodys_neighbour(tmp_path: Path) -> None:
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        queue.add("t", WriteKind.NOTE, {})
        for args in ("not json", "[]", '{"path": 7, "end": "x"}'):
            database.run("INSERT INTO outbox (lane, kind, args) VALUES ('t', 'logs', ?)", args)
            queue.add("t", WriteKind.LOGS, range_of("a", 0, 10))
        assert queue.journals() == {"a", "7"}


@pytest.mark.anyio
async def test_lines_of_an_outage_arrive_once_and_in_order(tmp_path: Path) -> None:
    """The journal grows while the first range hangs on its way, is lost, and is looked for."""
    file, lines = tmp_path / "journal.jsonl", [f"line {number}" for number in range(400)]
    file.write_text("".join(f"{line}\n" for line in lines))
    ends = [0]
    for line in lines:
        ends.append(ends[-1] + len(line) + 1)
    stored_rows: list[dict[str, Any]] = []
    troubles: list[Answer] = [Reset(), Reply(503, "x"), Hang(), Reset()]

    def script(request: Request) -> Answer:
        if request.call == LOGS:
            if troubles:
                return troubles.pop(0)
            body = request.body
            stored_rows.extend(
                {"iteration": body["iteration"], "lineNumber": number, "content": line}
                for number, line in enumerate(body["lines"])
            )
            return Reply(201, {"success": True})
        return Reply(200, {"logs": []})

    async with (
        serving(script) as server,
        running_outbox(server.url, tmp_path, timeout_s=0.2) as outbox,
    ):
        for number in range(400):
            outbox.put("t", WriteKind.LOGS, range_of(file, ends[number], ends[number + 1]))
            assert outbox.pending("t") <= 2
            if number % 100 == 50:  # let an attempt begin, and fail
                before = len(server.requests)
                await until(lambda before=before: len(server.requests) > before)  # type: ignore[misc]
        assert await outbox.flushed("t", timeout_s=10)
    assert [row["content"] for row in stored_rows] == lines
    as_read_back = sorted(stored_rows, key=lambda row: (row["iteration"], row["lineNumber"]))
    assert [row["content"] for row in as_read_back] == lines


# --- an outage of days
def steps(database: Database, action: Any) -> int:
    """Return how much SQLite had to do, in steps of its machine."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    database._connection.set_progress_handler(tick, 1)
    try:
        action()
    finally:
        database._connection.set_progress_handler(None, 1)
    return count


@pytest.mark.anyio
async def test_a_long_outage_makes_no_write_slower(tmp_path: Path) -> None:
    async with stopped_outbox("http://127.0.0.1:1", tmp_path) as outbox:
        queue, database = outbox._queue, outbox._queue._db

        def one_of_each() -> list[int]:
            costs = []
            for kind in WriteKind:
                args = range_of("a", 0, 10) if kind is WriteKind.LOGS else {"x": "y"}
                costs.append(steps(database, lambda k=kind, a=args: queue.add("t", k, a)))
            costs.append(steps(database, lambda: queue.get(queue.next("t")[0][0])))
            costs.append(steps(database, lambda: queue.has("t")))
            costs.append(steps(database, queue.has))
            return costs

        def pile(number: int) -> None:
            database.run(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?)"
                " INSERT INTO outbox (lane, kind, args)"
                " SELECT iif(x % 2, 't', 'other' || x % 1000),"
                " iif(x % 2, 'events', iif(x % 4, 'finish', iif(x % 8, 'progress', 'logs'))), '{}'"
                " FROM n",
                number,
            )

        pile(100)
        first = one_of_each()
        pile(20_000)
        later = one_of_each()
        # Full, with nothing that could be given up: the limit is looked at with every write.
        kinds = ", ".join(f"'{kind}'" for kind in EVICTION_ORDER)
        database.run(f"UPDATE outbox SET kind = 'note' WHERE kind IN ({kinds})")
        queue._max_bytes = 1
        full = steps(database, lambda: queue.add("t", WriteKind.NOTE, {"x": "y"}))
    assert max(later) < 500
    assert [b for a, b in zip(first, later, strict=True) if b > 2 * a + 50] == []
    assert full < 500


@pytest.mark.anyio
async def test_a_put_wakes_its_lane_alone(tmp_path: Path) -> None:
    """With thousands of lanes waiting, a write costs no look at each of them."""
    async with (
        serving(lambda _: Hang()) as server,
        stopped_outbox(server.url, tmp_path) as outbox,
    ):
        looks: list[int] = []
        lanes = outbox._queue.lanes
        outbox._queue.lanes = lambda: looks.append(1) or lanes()  # type: ignore[method-assign,func-returns-value]
        outbox.put("before", WriteKind.NOTE, {"task_id": "before", "text": "x"})
        async with delivering(outbox):
            await until(lambda: len(server.requests) == 1)
            for number in range(5):
                outbox.put(f"t-{number}", WriteKind.NOTE, {"task_id": "t", "text": "x"})
            await until(lambda: len(server.requests) == 6)
            await anyio.lowlevel.checkpoint()
    assert looks == [1]
