"""Log lines and events: sent in pieces, and no piece twice if that can be known."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from fake_api import Answer, Reply, Request, Reset, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from outbox_rig import running_outbox
from patience import HANG_S
from structlog.testing import capture_logs

from agent_swarm_worker.journal.reading import MAX_PART_BYTES
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.outbox.uploads import MAX_LINES

if TYPE_CHECKING:
    from pathlib import Path

LOGS = "POST /api/session-logs"
READ = "GET /api/tasks/t/session-logs"
EVENTS = "POST /api/events/batch"
STEP_LINES = 5
"""The public server takes 200; so does a smaller number, with fewer lines."""
SECRET = "known-to-the-server-only"


class LogServer:
    """Keeps lines as the real one does: in steps, each whole or not at all, and scrubbed.

    `before` and `after` have the trouble around each POST, `steps` how many steps one gets done.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.before: list[Answer | None] = []
        self.after: list[Answer | None] = []
        self.steps: list[int | None] = []
        self.refused: set[str] = set()
        self.calls: list[str] = []

    def __call__(self, request: Request) -> Answer:
        self.calls.append(request.call)
        if request.call == READ:
            in_order = sorted(self.rows, key=lambda row: (row["iteration"], row["lineNumber"]))
            return Reply(200, {"logs": in_order[-int(request.query["limit"]) :]})
        if request.call != LOGS:
            return Reply()
        if self.before and (trouble := self.before.pop(0)) is not None:
            return trouble
        lines = request.body["lines"]
        if self.refused.intersection(lines):
            return Reply(400, {"error": "Validation error: lines"})
        steps = self.steps.pop(0) if self.steps else None
        if steps is not None:
            lines = lines[: steps * STEP_LINES]
        batch = len(self.rows)
        self.rows += [
            {
                "sessionId": request.body["sessionId"],
                "iteration": request.body["iteration"],
                "lineNumber": number,
                "content": line.replace(SECRET, "[REDACTED:x]"),
                "createdAt": f"2026-01-01T00:00:00.{batch:09d}Z",
            }
            for number, line in enumerate(lines)
        ]
        if self.after and (trouble := self.after.pop(0)) is not None:
            return trouble
        return Reset() if steps is not None else Reply(201, {"success": True})

    @property
    def lines(self) -> list[str]:
        return [row["content"] for row in self.rows]


def journal(path: Path, lines: list[str]) -> Path:
    file = path / "journal.jsonl"
    file.write_text("".join(f"{line}\n" for line in ["metadata", *lines]), "utf-8")
    return file


def logs_of(file: Path) -> dict[str, Any]:
    return {
        "path": file,
        "start": len("metadata\n"),
        "end": file.stat().st_size,
        "session_uuid": "s",
        "iteration": 1,
        "cli": "claude",
        "task_id": "t",
    }


async def upload(server_script: Any, path: Path, args: dict[str, Any]) -> list[str]:
    """Deliver one write and a result behind it; return the names of what was logged."""
    with capture_logs() as lines:
        async with serving(server_script) as server, running_outbox(server.url, path) as outbox:
            outbox.put("t", WriteKind.LOGS, args)
            outbox.put("t", WriteKind.FINISH, {"task_id": "t", "status": "completed"})
            assert await outbox.flushed("t", timeout_s=10)
    assert server.calls[-1] == "POST /api/tasks/t/finish"
    return [line["event"] for line in lines if line["log_level"] != "debug"]


@pytest.mark.anyio
async def test_a_long_journal_goes_in_parts(tmp_path: Path) -> None:
    lines = [f"line {number} ü" for number in range(2 * MAX_LINES + 1)]
    server = LogServer()
    assert await upload(server, tmp_path, logs_of(journal(tmp_path, lines))) == []
    assert server.lines == lines
    assert server.calls.count(LOGS) == 3
    assert {row["sessionId"] for row in server.rows} == {"s"}


@pytest.mark.anyio
async def test_long_lines_go_in_small_parts_and_longest_alone(tmp_path: Path) -> None:
    lines = ["x" * (MAX_PART_BYTES // 2 - 100)] * 3 + ["y" * (3 * MAX_PART_BYTES), "z"]
    server = LogServer()
    assert await upload(server, tmp_path, logs_of(journal(tmp_path, lines))) == []
    assert server.lines == lines
    assert server.calls.count(LOGS) == 4


class NarrowServer(LogServer):
    """Takes no body longer than a proxy would let through."""

    def __call__(self, request: Request) -> Answer:
        if request.call == LOGS and len(orjson.dumps(request.body)) > 1_000_000:
            self.calls.append(request.call)
            return Reply(413, "<html>Request Entity Too Large</html>")
        return super().__call__(request)


@pytest.mark.anyio
@pytest.mark.parametrize("char", ["y", "\x01", "ü", '"', "😀"])
async def test_of_a_line_that_is_too_long_for_the_server_its_ends_arrive(tmp_path: Path, char: str):
    long = "begin" + char * 1_200_000 + "end"
    lines = ["x", long, *("z" * 400_000 for _ in range(4))]
    server = NarrowServer()
    assert await upload(server, tmp_path, logs_of(journal(tmp_path, lines))) == ["outbox.dropped"]
    assert [line for number, line in enumerate(server.lines) if number != 1] == [
        lines[0],
        *lines[2:],
    ]
    told = orjson.loads(server.lines[1])
    assert (told["type"], told["chars"]) == ("cut_line", len(long))
    assert told["begins"].startswith("begin" + char)
    assert told["ends"].endswith(char + "end")


@pytest.mark.anyio
async def test_the_ends_of_a_line_are_not_sent_twice(tmp_path: Path) -> None:
    server = NarrowServer()
    server.after = [Reset()]
    args = logs_of(journal(tmp_path, ["begin" + "y" * 3_000_000]))
    await upload(server, tmp_path, args)
    assert len(server.lines) == 1


@pytest.mark.anyio
async def test_acknowledged_parts_are_not_sent_again(tmp_path: Path) -> None:
    lines = [str(number) for number in range(2400)]
    server = LogServer()
    server.before = [None, Reply(503, "x"), None, Reply(429, {"error": "slow"})]
    await upload(server, tmp_path, logs_of(journal(tmp_path, lines)))
    assert server.lines == lines


@pytest.mark.anyio
@pytest.mark.parametrize("which", ["before", "after"])
async def test_a_lost_answer_is_cleared_up_by_reading_back(tmp_path: Path, which: str) -> None:
    lines = [str(number) for number in range(1300)]
    server = LogServer()
    setattr(server, which, [None, Reset()])
    await upload(server, tmp_path, logs_of(journal(tmp_path, lines)))
    assert server.lines == lines
    assert server.calls.count(READ) == 1


FATES = st.sampled_from(["well", "refused", "lost", "broken off"])


@settings(max_examples=20)
@given(
    texts=st.lists(st.sampled_from(["a", "b", "ü", f"x {SECRET} y", SECRET]), max_size=30),
    times=st.sampled_from([1, 3, 100]),
    fates=st.lists(FATES, max_size=6),
)
def test_each_line_is_stored_once_whatever_becomes_of_the_requests(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], times: int, fates: list[str]
) -> None:
    place, server = tmp_path_factory.mktemp("journal"), LogServer()
    lines = texts * times
    server.before = [Reply(503, "x") if fate == "refused" else None for fate in fates]
    went_through = [fate for fate in fates if fate != "refused"]
    server.after = [Reset() if fate == "lost" else None for fate in went_through]
    server.steps = [1 if fate == "broken off" else None for fate in went_through]
    anyio.run(upload, server, place, logs_of(journal(place, lines)))
    assert server.lines == [line.replace(SECRET, "[REDACTED:x]") for line in lines]


@pytest.mark.anyio
async def test_a_log_that_cannot_be_looked_at_does_not_keep_the_result_back(tmp_path: Path) -> None:
    server = LogServer()
    server.after = [Reset()]

    def script(request: Request) -> Answer:
        if request.call != READ:
            return server(request)
        # Another call gets an answer: there is no outage.
        outbox._client.http.health.record_answer(has_body=True)
        return Reply(500, {"error": "x"})

    async with serving(script) as real, running_outbox(real.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.LOGS, logs_of(journal(tmp_path, ["a", "b"])))
        outbox.put("t", WriteKind.FINISH, {"task_id": "t", "status": "completed"})
        assert await outbox.flushed("t", timeout_s=5)
    assert server.lines == ["a", "b", "a", "b"]
    assert real.calls.count(READ) == 6
    assert real.calls[-1] == "POST /api/tasks/t/finish"


@pytest.mark.anyio
@pytest.mark.parametrize("status", [500, 501])
async def test_a_line_on_which_the_server_fails_is_sent_reduced(
    tmp_path: Path, status: int
) -> None:
    server = LogServer()

    def script(request: Request) -> Answer:
        bad = request.call == LOGS and any("\\u0000" in it for it in request.body["lines"])
        return Reply(status, {"error": "SQLite says no"}) if bad else server(request)

    poison = orjson.dumps({"said": "a\0b"}).decode()
    async with serving(script) as real, running_outbox(real.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.LOGS, logs_of(journal(tmp_path, ["a", poison, "c"])))
        assert await outbox.flushed("t", timeout_s=HANG_S)
    first, line, last = server.lines
    assert (first, last) == ("a", "c")
    assert orjson.loads(line)["type"] == "masked_line"


@pytest.mark.anyio
@pytest.mark.parametrize("which", ["text", "name"])
async def test_an_event_on_which_the_server_fails_is_sent_reduced_or_left_out(
    tmp_path: Path, which: str
) -> None:
    """It is left out if the server fails over it in each form."""
    stored: list[dict[str, Any]] = []
    bad_text = "x; DROP" if which == "text" else "poison"

    def script(request: Request) -> Answer:
        if request.call != EVENTS:
            return Reply(200, {"events": stored})
        if any(bad_text in str(it) for it in request.body["events"]):
            return Reply(500, {"error": "SQLite says no"})
        stored.extend(request.body["events"])
        return Reply(201, {"success": True})

    events = [{"category": "tool", "event": f"e{n}", "data": {"t": "fine"}} for n in range(3)]
    if which == "text":
        events[1]["data"] = {"t": "x; DROP"}
    else:
        events[1]["event"] = "poison"
    with capture_logs() as lines:
        async with serving(script) as real, running_outbox(real.url, tmp_path) as outbox:
            outbox.put("t", WriteKind.EVENTS, {"events": events})
            assert await outbox.flushed("t", timeout_s=HANG_S)
    assert any(line["event"] == "outbox.dropped" for line in lines)
    names = [event["event"] for event in stored]
    if which == "name":
        assert names == ["e0", "e2"]
        return
    assert names == ["e0", "e1", "e2"]
    assert stored[1]["data"]["t"].startswith("x； DROP")  # noqa: RUF001 - looks alike


@pytest.mark.anyio
async def test_an_api_that_is_away_is_waited_for_before_a_log_is_sent_again(tmp_path: Path) -> None:
    """However often it cannot be looked at: all that fails then says nothing of the log."""
    server, reads = LogServer(), count(1)
    server.after = [Reset()]

    def script(request: Request) -> Answer:
        outbox._client.http.health.record_answer()  # an empty answer, which nothing can cut in half
        is_away = request.call == READ and next(reads) < 20
        return Reply(500, {"error": "x"}) if is_away else server(request)

    async with serving(script) as real, running_outbox(real.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.LOGS, logs_of(journal(tmp_path, ["a", "b"])))
        assert await outbox.flushed("t", timeout_s=5)
    assert server.lines == ["a", "b"]


@pytest.mark.anyio
async def test_what_cannot_be_read_back_comes_twice_rather_than_never(tmp_path: Path) -> None:
    args = logs_of(journal(tmp_path, ["a", "b"]))
    for task_id, reads in (("t", 1), (None, 0)):
        server = LogServer()
        server.after = [Reset()]
        # The server scrubs too: what it shows is not what was sent.
        script = lambda request, server=server: (  # noqa: E731
            Reply(404, "Not Found") if request.call == READ else server(request)
        )
        async with serving(script) as real, running_outbox(real.url, tmp_path) as outbox:
            outbox.put("t", WriteKind.LOGS, {**args, "task_id": task_id})
            assert await outbox.flushed("t", timeout_s=5)
        assert server.lines == ["a", "b", "a", "b"]
        assert real.calls.count(READ) == reads


@pytest.mark.anyio
async def test_reading_back_works_however_long_the_log_is(tmp_path: Path) -> None:
    server = LogServer()
    server.after = [Reset()]
    server.rows = [
        {"sessionId": "s", "iteration": 1, "lineNumber": n, "content": "old", "createdAt": "3"}
        for n in range(5000)
    ]
    lines = [f"line {n}" for n in range(MAX_LINES)]
    await upload(server, tmp_path, {**logs_of(journal(tmp_path, lines)), "iteration": 9})
    assert server.lines[5000:] == lines


@pytest.mark.anyio
async def test_bad_lines_are_found_and_left_out(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(700)]
    server = LogServer()
    server.refused = {"line 3", "line 333", "line 334", "line 699"}
    events = await upload(server, tmp_path, logs_of(journal(tmp_path, lines)))
    assert server.lines == [line for line in lines if line not in server.refused]
    assert events == ["outbox.dropped"] * 4
    assert server.calls.count(LOGS) < 100


@pytest.mark.anyio
async def test_when_everything_is_refused_it_is_not_the_lines(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(500)]
    server = LogServer()
    server.before = [Reply(400, {"error": "Validation error: iteration"})] * 999
    events = await upload(server, tmp_path, logs_of(journal(tmp_path, lines)))
    assert events == ["outbox.dropped"] * 8
    assert server.calls.count(LOGS) < 30


@pytest.mark.anyio
async def test_journals_that_are_gone_or_cut_off(tmp_path: Path) -> None:
    args = logs_of(journal(tmp_path, ["a", "b", "c"]))
    (tmp_path / "one").mkdir()
    server = LogServer()
    os.truncate(args["path"], args["start"] + 3)
    assert await upload(server, tmp_path / "one", args) == ["outbox.dropped"]
    assert server.lines == ["a", "b"]
    args["path"].unlink()
    (tmp_path / "two").mkdir()
    server = LogServer()
    assert await upload(server, tmp_path / "two", args) == ["outbox.dropped"]
    assert server.lines == []


@pytest.mark.anyio
async def test_lines_that_are_in_no_file_go_like_others(tmp_path: Path) -> None:
    """The disk did not take them; one of them is refused, an answer to the others is lost."""
    lines = [f"line {number} ü" for number in range(2 * MAX_LINES)]
    args = logs_of(journal(tmp_path, []))
    for name in ("path", "start", "end"):
        del args[name]
    server = LogServer()
    server.after = [Reset(), None]
    server.refused = {"line 1000 ü"}
    told = await upload(server, tmp_path, args | {"text": "".join(f"{line}\n" for line in lines)})
    assert server.lines == [line for line in lines if line != "line 1000 ü"]
    assert told == ["api.unreachable", "api.recovered", "outbox.dropped"]


@pytest.mark.anyio
@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_batch_of_events_is_one_request_and_is_not_sent_twice(
    tmp_path: Path, is_lost: bool
) -> None:
    stamp = {"clientTimestamp": "2026-11-20T12:00:00.000Z"}
    batch = [
        {"event": "tool.start", "taskId": "t", "sessionId": "s", "data": {"n": n, **stamp}}
        for n in range(450)
    ]
    taken: list[Any] = []

    def script(request: Request) -> Answer:
        if request.call != EVENTS:
            return Reply(200, {"events": taken[::-1]})
        taken.extend(request.body["events"])
        return Reply(502 if is_lost else 201)

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.EVENTS, {"events": orjson.Fragment(orjson.dumps(batch))})
        assert await outbox.flushed("t", timeout_s=20)
    assert taken == batch


@pytest.mark.anyio
async def test_bad_events_are_found_and_left_out(tmp_path: Path) -> None:
    taken: list[int] = []

    def script(request: Request) -> Answer:
        numbers = [event["n"] for event in request.body["events"]]
        if any(number in {0, 57, 249} for number in numbers):
            return Reply(400, {"error": "Validation error: events.0.event"})
        taken.extend(numbers)
        return Reply(201)

    with capture_logs() as lines:
        async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
            outbox.put("t", WriteKind.EVENTS, {"events": [{"n": number} for number in range(250)]})
            assert await outbox.flushed("t", timeout_s=5)
    assert taken == [number for number in range(250) if number not in {0, 57, 249}]
    assert [line["event"] for line in lines] == ["outbox.dropped"] * 3
