"""Which writes of a lane may be under way together, and what is doubted of them after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_api import FakeClock
from outbox_rig import stored

from agent_swarm_worker.outbox.queue import Queue, WriteKind

K = WriteKind
RECORDS = [K.SESSION, K.LOGS, K.EVENTS, K.COST, K.CONTEXT]


def ids_of(queue: Queue, kinds: list[WriteKind], lane: str = "t") -> list[int]:
    for kind in kinds:
        queue.add(lane, kind, {"x": "y"})
    rows = queue._db.run("SELECT id FROM outbox WHERE lane = ? ORDER BY id", lane)
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("kinds", "at_once"),
    [
        ([*RECORDS, K.FINISH], [0, 1, 2, 3, 4]),
        ([K.LOGS, K.LOGS, K.COST], [0, 2]),
        ([K.LOGS, K.FINISH, K.COST], [0]),
        ([K.FINISH, K.LOGS], [0]),
        ([K.PROGRESS, K.LOGS, K.NOTE, K.COST], [0, 1, 3]),
        ([K.NOTE, K.NOTE, K.SESSION], [0, 2]),
        ([K.VCS, K.LOGS], [0]),
        ([K.COST, K.DELETE_ACTIVE_SESSION, K.EVENTS], [0]),
    ],
)
def test_records_go_at_once_one_of_each_kind_and_nothing_passes_another_kind(
    tmp_path: Path, kinds: list[WriteKind], at_once: list[int]
):
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        ids = ids_of(queue, kinds)
        assert [item_id for item_id, _ in queue.next("t")] == [ids[index] for index in at_once]
        # After a crash each of these may have been carried out, and no other.
        again = Queue(database)
        doubted = [
            item_id for item_id in ids if (item := again.get(item_id)) and item.maybe_delivered
        ]
        assert doubted == [ids[index] for index in at_once]


def test_one_lane_does_not_hold_up_what_is_doubted_of_another(tmp_path: Path):
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        first = ids_of(queue, [K.FINISH, K.LOGS], "a")
        second = ids_of(queue, [K.LOGS, K.COST, K.FINISH], "b")
        again = Queue(database)
        doubted = [i for i in (*first, *second) if (item := again.get(i)) and item.maybe_delivered]
        assert doubted == [first[0], second[0], second[1]]


def test_a_range_that_may_be_under_way_beside_another_write_is_not_lengthened(tmp_path: Path):
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        queue.add("t", K.CONTEXT, {"x": "y"})
        where = {"path": "/j", "iteration": 1, "session_uuid": "s"}
        for start in (0, 10, 20):
            part = {"iteration": 1 + start, "start": start, "end": start + 10}
            queue.add("t", K.LOGS, {**where, **part})
        rows = database.run("SELECT id FROM outbox WHERE kind = 'logs' ORDER BY id")
        ranges = [(item.args["start"], item.args["end"]) for (i,) in rows if (item := queue.get(i))]
        assert ranges == [(0, 10), (10, 30)]


def test_a_long_lane_is_opened_in_no_time(tmp_path: Path):
    """The work of opening grows with the rows, not with their square."""
    with stored(tmp_path, FakeClock()) as database:
        database.run(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000)"
            " INSERT INTO outbox (lane, kind, args) SELECT 't', 'events', '{}' FROM n"
        )
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection = database._connection
        connection.set_progress_handler(count, 1000)
        Queue(database)
        connection.set_progress_handler(None, 0)
        assert steps < 20_000
