"""Every write arrives, in order, whatever happens in between."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from fake_api import (
    Answer,
    FakeClock,
    Hang,
    Reply,
    Request,
    Reset,
    connected,
    free_port,
    serving,
)
from outbox_rig import delivering, running_outbox, stopped_outbox, stored
from patience import HANG_S, WAIT_S, until
from structlog.testing import capture_logs

from agent_swarm_worker.api.configuration import PoolKey
from agent_swarm_worker.api.wire.tasks import ChannelCursor
from agent_swarm_worker.outbox.outbox import MISSING_ATTEMPTS, STUCK_S, Outbox
from agent_swarm_worker.outbox.queue import STREAMS, Queue, WriteKind
from agent_swarm_worker.outbox.reduction import masked
from agent_swarm_worker.outbox.retries import LOCKED_OUT_BACKOFF_S, MAX_BACKOFF_S

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

DONE = {"task_id": "t", "status": "completed", "output": "done"}
FINISH = "POST /api/tasks/t/finish"
PROGRESS = "POST /api/tasks/t/progress"
NOT_FOUND = Reply(404, {"error": "Task not found"})
KEY = PoolKey(key_type="K", suffix="abcde", index=0)
WIRE_KEY = {"keyType": "K", "keySuffix": "abcde", "keyIndex": 0}


def note(text: str, task_id: str = "t") -> dict[str, Any]:
    return {"task_id": task_id, "text": text}


def texts(requests: list[Request]) -> list[str]:
    return [request.body["progress"] for request in requests if request.path.endswith("/progress")]


ALL_KINDS: list[tuple[WriteKind, dict[str, Any], str, Any]] = [
    (WriteKind.PROGRESS, note("p"), PROGRESS, {"progress": "p"}),
    (WriteKind.NOTE, note("n"), PROGRESS, {"progress": "n"}),
    (
        WriteKind.SESSION,
        {"task_id": "t", "session": {"claudeSessionId": "s"}},
        "PUT /api/tasks/t/session",
        {"claudeSessionId": "s"},
    ),
    (
        WriteKind.EVENTS,
        {"events": [{"event": "x"}]},
        "POST /api/events/batch",
        {"events": [{"event": "x"}]},
    ),
    (WriteKind.COST, {"sessionId": "s"}, "POST /api/session-costs", {"sessionId": "s"}),
    (
        WriteKind.CONTEXT,
        {"task_id": "t", "snapshot": {"sessionId": "s"}},
        "POST /api/tasks/t/context",
        {"sessionId": "s"},
    ),
    (WriteKind.FINISH, DONE, FINISH, {"status": "completed", "output": "done"}),
    (
        WriteKind.LATE_RESULT,
        {**DONE, "session_uuid": "s"},
        "POST /api/session-logs",
        {
            "sessionId": "s",
            "iteration": 2_000_000_000,
            "lines": ['{"type":"late_result","status":"completed","content":"done"}'],
            "taskId": "t",
        },
    ),
    (
        WriteKind.VCS,
        {"task_id": "t", "link": {"vcsNumber": 1}},
        "PATCH /api/tasks/t/vcs",
        {"vcsNumber": 1},
    ),
    (
        WriteKind.REPORT_USAGE,
        {"key": KEY, "task_id": None},
        "POST /api/keys/report-usage",
        WIRE_KEY,
    ),
    (
        WriteKind.REPORT_RATE_LIMIT,
        {"key": KEY, "until": "2026-01-01T00:00:00Z"},
        "POST /api/keys/report-rate-limit",
        {**WIRE_KEY, "rateLimitedUntil": "2026-01-01T00:00:00Z"},
    ),
    (
        WriteKind.REPORT_WINDOWS,
        {"key": KEY, "windows": {"a": {"status": "ok"}}},
        "POST /api/keys/report-rate-limit-windows",
        {**WIRE_KEY, "windows": {"a": {"status": "ok"}}},
    ),
    (
        WriteKind.CLEAR_RATE_LIMIT,
        {"key": KEY},
        "POST /api/keys/clear-rate-limit",
        {"keyType": "K", "keySuffix": "abcde"},
    ),
    (
        WriteKind.PROVIDER_SESSION,
        {"task_id": "t", "provider_session_id": "p"},
        "PUT /api/active-sessions/provider-session/t",
        {"providerSessionId": "p"},
    ),
    (
        WriteKind.LATEST_MODEL,
        {"agent_id": "a", "latest_model": {"model": "m"}},
        "PUT /api/agents/a/credential-status",
        {"latest_model": {"model": "m"}},
    ),
    (
        WriteKind.COMMIT_CURSORS,
        {"cursors": (ChannelCursor(channel_id="c", ts="1"),)},
        "POST /api/channel-activity/commit-cursors",
        {"cursorUpdates": [{"channelId": "c", "ts": "1"}]},
    ),
    (
        WriteKind.DELETE_ACTIVE_SESSION,
        {"task_id": "t"},
        "DELETE /api/active-sessions/by-task/t",
        None,
    ),
    (
        WriteKind.STEERED,
        {"message_id": "m", "mode": "queue"},
        "POST /api/steering-messages/m/delivered",
        {"mode": "queue"},
    ),
    (
        WriteKind.STEERED,
        {"message_id": "m", "reason": "it sleeps"},
        "POST /api/steering-messages/m/undeliverable",
        {"reason": "it sleeps"},
    ),
    (
        WriteKind.MEMORY,
        {"agentId": "a", "content": "c", "sourcePath": "p"},
        "POST /api/memory/index",
        {"agentId": "a", "content": "c", "sourcePath": "p"},
    ),
]


async def test_every_kind_goes_where_it_belongs_and_in_order(tmp_path: Path) -> None:
    async with serving(lambda _: Reply()) as server, running_outbox(server.url, tmp_path) as outbox:
        for kind, args, _, _ in ALL_KINDS:
            outbox.put("t", kind, args)
        assert await outbox.flushed("t", timeout_s=5)
    sent = [(request.call, request.body) for request in server.requests]
    # What does not depend on another goes at once, in any order; the rest waits its turn.
    count = next(n for n, (kind, *_) in enumerate(ALL_KINDS) if kind not in STREAMS)
    wanted = [(call, body) for _, _, call, body in ALL_KINDS]
    assert sorted(sent[:count], key=repr) == sorted(wanted[:count], key=repr)
    assert sent[count:] == wanted[count:]
    assert {kind for kind, *_ in ALL_KINDS} == set(WriteKind) - {WriteKind.LOGS}


@pytest.mark.long
@pytest.mark.parametrize("age_s", [1, 6])
async def test_what_hangs_since_before_the_api_came_back_is_tried_again(
    tmp_path: Path, age_s: float
) -> None:
    clock, seen = FakeClock(), list[str]()

    def script(request: Request) -> Answer:
        if request.method == "GET":
            return Reply(200, {"id": request.path[-1], "task": "x", "status": "in_progress"})
        seen.append(request.call)
        if seen.count(request.call) == 1:
            return Hang() if request.path.startswith("/api/tasks/t/") else Reset()
        return Reply()

    async with (
        serving(script) as server,
        running_outbox(server.url, tmp_path, clock=clock, timeout_s=60) as outbox,
    ):
        outbox.put("t", WriteKind.NOTE, note("hangs"))
        await until(lambda: len(seen) == 1)
        clock.elapsed += age_s
        outbox.put("u", WriteKind.NOTE, {"task_id": "u", "text": "fails once"})
        with capture_logs():
            assert await outbox.flushed("u", timeout_s=5)
        assert await outbox.flushed("t", timeout_s=1) is (age_s > STUCK_S)
    assert len(seen) == (4 if age_s > STUCK_S else 3)


async def test_an_outage_delays_and_loses_nothing(tmp_path: Path) -> None:
    clock, port = FakeClock(), free_port()
    url = f"http://127.0.0.1:{port}"
    with capture_logs() as lines:
        async with running_outbox(url, tmp_path, clock=clock) as outbox:
            for number in range(5):
                outbox.put("t", WriteKind.NOTE, note(str(number)))
            outbox.put("t", WriteKind.FINISH, DONE)
            await until(lambda: len(clock.slept) >= 12)
            assert outbox.pending("t") == 6
            async with serving(lambda _: Reply(), port=port) as server:
                assert await outbox.flushed("t", timeout_s=5)
    assert texts(server.requests) == ["0", "1", "2", "3", "4"]
    assert server.calls[-1] == FINISH
    assert max(clock.slept) <= MAX_BACKOFF_S
    assert len(set(clock.slept)) == len(clock.slept), "jitter"
    news = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert news == ["api.unreachable", "api.recovered"]


@pytest.mark.parametrize(
    "trouble",
    [
        Reset(),
        Hang(),
        Reply(200, "<html>"),
        Reply(500, {"error": "x"}),
        Reply(502, "<html>"),
        Reply(429, {"error": "slow"}),
        Reply(408, "x"),
        Reply(401, {"error": "Unauthorized"}),
        Reply(200, {"a": 1}, promised_bytes=99),
    ],
)
async def test_trouble_that_passes(tmp_path: Path, trouble: Answer) -> None:
    answers = iter([trouble, trouble])
    async with (
        serving(lambda _: next(answers, Reply())) as server,
        running_outbox(server.url, tmp_path, timeout_s=0.2) as outbox,
    ):
        outbox.put("t", WriteKind.FINISH, DONE)
        outbox.put("t", WriteKind.NOTE, note("after"))
        assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == [FINISH, FINISH, FINISH, PROGRESS]


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_a_refusal_loses_this_write_only(tmp_path: Path, status: int) -> None:
    def script(request: Request) -> Answer:
        return Reply(status, {"error": "no"}) if request.call == PROGRESS else Reply()

    with capture_logs() as lines:
        async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
            outbox.put("t", WriteKind.NOTE, note("bad"))
            outbox.put("t", WriteKind.FINISH, DONE)
            assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == [PROGRESS, FINISH]
    (line,) = lines
    assert (line["event"], line["kind"], line["status"]) == ("outbox.dropped", "note", status)


async def test_a_new_key_is_waited_for(tmp_path: Path) -> None:
    clock = FakeClock()
    answers = iter([Reply(401, {"error": "Unauthorized"})] * 3)
    async with (
        serving(lambda _: next(answers, Reply())) as server,
        running_outbox(server.url, tmp_path, clock=clock) as outbox,
    ):
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=5)
    assert len(clock.slept) == 3
    assert min(clock.slept) >= LOCKED_OUT_BACKOFF_S[0]


@pytest.mark.long
async def test_lanes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Nine lanes hang, more than there are requests at once; the tenth gets through."""

    def script(request: Request) -> Answer:
        return Reply() if "/good/" in request.path else Hang()

    async with (
        serving(script) as server,
        running_outbox(server.url, tmp_path, timeout_s=1) as outbox,
    ):
        for number in range(9):
            outbox.put(f"dead-{number}", WriteKind.NOTE, note("x", f"dead-{number}"))
        outbox.put("good", WriteKind.FINISH, {**DONE, "task_id": "good"})
        assert await outbox.flushed("good", timeout_s=HANG_S)
        assert not await outbox.flush_all(timeout_s=0.01)
        assert outbox.pending() == 9


async def test_no_more_than_eight_requests_at_once(tmp_path: Path) -> None:
    async with serving(lambda _: Hang()) as server, running_outbox(server.url, tmp_path) as outbox:
        for number in range(20):
            outbox.put(f"t-{number}", WriteKind.NOTE, note("x", f"t-{number}"))
        with anyio.fail_after(WAIT_S):
            while len(server.requests) < 8:
                await anyio.sleep(0.01)
        with anyio.move_on_after(0.3):
            await outbox.flush_all(timeout_s=1)
    assert len(server.requests) == 8


async def test_a_write_the_server_stumbles_over_does_not_block_the_result(tmp_path: Path) -> None:
    def script(request: Request) -> Answer:
        poisoned = request.call == PROGRESS and request.body["progress"] != "fine"
        return Reply(500, {"error": "SQLite says no"}) if poisoned else Reply()

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        for text in ("poison", "fine"):
            outbox.put("t", WriteKind.NOTE, note(text))
        outbox.put("t", WriteKind.FINISH, DONE)
        await until(lambda: outbox.pending("t") == 1)
    assert "fine" in texts(server.requests)
    assert server.calls.count(FINISH) == 1


@pytest.mark.parametrize(
    "trouble", [Reply(500, {"error": "SQLite says no"}), Reply(200, "<html>Blocked</html>")]
)
async def test_a_text_on_which_the_server_fails_is_sent_reduced(
    tmp_path: Path, trouble: Answer
) -> None:
    task = {"id": "t", "task": "x", "status": "in_progress", "agentId": "a", "logs": []}

    def script(request: Request) -> Answer:
        if request.method == "GET":
            return Reply(200, task)
        return trouble if "<script>" in (request.body or {}).get("progress", "") else Reply()

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.NOTE, note("a <script> here"))
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=HANG_S)
    assert texts(server.requests)[-1].startswith(f"{masked('a <script> here', 1)}\n[… masked")


async def test_a_masked_text_that_is_too_long_is_shortened_and_stays_masked(
    tmp_path: Path,
) -> None:
    def script(request: Request) -> Answer:
        said = (request.body or {}).get("progress", "")
        refused = "<" in said or len(said) > 3000
        return Reply(403, "<html>Blocked</html>") if refused else Reply()

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("other", WriteKind.NOTE, note("passes", "other"))
        outbox.put("t", WriteKind.NOTE, note("<script>" * 1000))
        assert await outbox.flushed("t", timeout_s=HANG_S)
    last = texts(server.requests)[-1]
    assert last.startswith(masked("<script>", 2))
    assert "[… shortened" in last


async def test_a_text_is_whole_if_only_reading_back_fails(tmp_path: Path) -> None:
    answers = iter([Reset()])

    def script(request: Request) -> Answer:
        if request.method == "GET":
            outbox._client.http.health.record_answer(has_body=True)  # there is no outage
            return Reply(500, {"error": "x"})
        return next(answers, Reply()) if request.call == PROGRESS else Reply()

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("other", WriteKind.NOTE, note("passes", "other"))
        outbox.put("t", WriteKind.NOTE, note("a <script> here"))
        assert await outbox.flushed("t", timeout_s=HANG_S)
    assert [text for text in texts(server.requests) if text != "passes"] == ["a <script> here"] * 2


async def test_a_result_is_never_pushed_back(tmp_path: Path) -> None:
    answers = iter([Reply(500, {"error": "x"})] * 20)
    script = lambda request: next(answers, Reply()) if request.call == FINISH else Reply()  # noqa: E731
    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.FINISH, DONE)
        outbox.put("t", WriteKind.NOTE, note("after"))
        assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == [FINISH] * 21 + [PROGRESS]


async def test_of_waiting_progress_only_the_newest_is_sent(tmp_path: Path) -> None:
    async with serving(lambda _: Reply()) as server, stopped_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.PROGRESS, note("1"))
        outbox.put("other", WriteKind.PROGRESS, note("other", "other"))
        outbox.put("t", WriteKind.NOTE, note("note"))
        outbox.put("t", WriteKind.PROGRESS, note("2"))
        outbox.put("t", WriteKind.FINISH, DONE)
        outbox.put("t", WriteKind.PROGRESS, note("3"))
        outbox.put("t", WriteKind.PROGRESS, note("4"))
        async with delivering(outbox):
            assert await outbox.flush_all(5)
    ours = [request for request in server.requests if "/t/" in request.path]
    assert [request.call for request in ours] == [PROGRESS, PROGRESS, FINISH, PROGRESS]
    assert texts(ours) == ["note", "2", "4"]
    assert texts(server.requests).count("other") == 1


async def test_a_missing_route_is_left_out_quietly(tmp_path: Path) -> None:
    def script(request: Request) -> Answer:
        return Reply(404, "Not Found") if request.path.endswith("/context") else Reply()

    snapshot = {"task_id": "t", "snapshot": {"sessionId": "s"}}
    with capture_logs() as lines:
        async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
            for _ in range(3):
                outbox.put("t", WriteKind.CONTEXT, snapshot)
            outbox.put("t", WriteKind.FINISH, DONE)
            assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == ["POST /api/tasks/t/context"] * MISSING_ATTEMPTS + [FINISH]
    told = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert told == ["outbox.retried", "server.feature_off"]


async def test_a_proxy_that_hides_the_server_for_a_moment(tmp_path: Path) -> None:
    """A result is never dropped for it, nor what has worked before."""
    answers = iter([Reply(), *[Reply(404, "Not Found")] * 3, Reply()])
    hidden = iter([Reply(404, "Not Found")] * 9)

    def script(request: Request) -> Answer:
        return next(hidden, Reply()) if request.call == FINISH else next(answers)

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.NOTE, note("1"))
        outbox.put("t", WriteKind.NOTE, note("2"))
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=5)
    assert texts(server.requests) == ["1", "2", "2", "2", "2"]
    assert server.calls.count(FINISH) == 10


async def test_recovery_ends_the_waiting(tmp_path: Path) -> None:
    """With a clock that never gets anywhere, only the recovery can wake the lane."""

    class Stuck(FakeClock):
        async def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)
            await anyio.sleep_forever()

    clock, port = Stuck(), free_port()
    url = f"http://127.0.0.1:{port}"
    with stored(tmp_path, clock) as database:
        async with connected(url, clock=clock) as client:
            outbox = Outbox(database, client, clock=clock)
            async with delivering(outbox):
                outbox.put("t", WriteKind.FINISH, DONE)
                await until(lambda: bool(clock.slept))
                async with serving(lambda _: Reply(), port=port) as server:
                    assert outbox.pending("t") == 1
                    await client.agents.ping()
                    assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == ["POST /ping", FINISH]
    assert len(clock.slept) == 1


class TestFinish:
    """A result that the server forgot (docs/api.md 7.1)."""

    def answers(self, *statuses: str) -> Any:
        left = collections.deque(statuses)

        def script(request: Request) -> Answer:
            if request.call != FINISH:
                return Reply(200, {"success": True})
            status = left.popleft()
            return Reply(200, {"alreadyFinished": True, "task": {"id": "t", "status": status}})

        return script

    async def run(self, path: Path, script: Any) -> tuple[list[str], list[str]]:
        with capture_logs() as lines:
            async with serving(script) as server, running_outbox(server.url, path) as outbox:
                outbox.put("t", WriteKind.FINISH, DONE)
                assert await outbox.flushed("t", timeout_s=5)
        return server.calls, [line["event"] for line in lines]

    async def test_is_repaired(self, tmp_path: Path) -> None:
        calls, events = await self.run(tmp_path, self.answers("pending", "pending", "completed"))
        assert calls == [FINISH, PROGRESS, FINISH, PROGRESS, FINISH]
        assert events == ["finish.repaired"] * 2

    async def test_is_not_repaired_for_ever(self, tmp_path: Path) -> None:
        calls, events = await self.run(tmp_path, self.answers(*["paused"] * 9))
        assert calls.count(FINISH) == 4
        assert events == ["finish.repaired"] * 3 + ["outbox.dropped"]

    async def test_needs_no_repair(self, tmp_path: Path) -> None:
        assert await self.run(tmp_path, self.answers("failed")) == ([FINISH], [])

    @pytest.mark.parametrize("status", [403, 409])
    async def test_another_word_stands_and_ours_is_logged(
        self, tmp_path: Path, status: int
    ) -> None:
        def answer(request: Request) -> Reply:
            is_finish = request.path.endswith("/finish")
            return Reply(status, {"error": "already finished"}) if is_finish else Reply()

        look = "GET /api/tasks/t"  # a firewall may say so too
        assert await self.run(tmp_path, answer) == ([FINISH, look, "POST /api/session-logs"], [])

    async def test_the_task_is_gone(self, tmp_path: Path) -> None:
        assert await self.run(tmp_path, lambda _: NOT_FOUND) == (
            [FINISH, "GET /api/tasks/t"],
            ["outbox.dropped"],
        )


COST = {"sessionId": "s-1", "agentId": "a", "taskId": "t", "totalCostUsd": 1.0}


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_session_is_charged_once(tmp_path: Path, lost: str) -> None:
    stored_costs: list[Any] = []

    def script(request: Request) -> Answer:
        if request.method == "GET":
            return Reply(200, {"costs": [{"sessionId": "another"}, *stored_costs]})
        first_time = len([r for r in server.requests if r.method == "POST"]) == 1
        if not first_time or lost == "answer":
            stored_costs.append(request.body)
        return Reset() if first_time else Reply(201)

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.COST, COST)
        assert await outbox.flushed("t", timeout_s=5)
    assert stored_costs == [COST]
    assert server.requests[1].query == {"taskId": "t", "limit": "500"}


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_late_result_is_kept_once(tmp_path: Path, lost: str) -> None:
    stored: list[str] = []

    def script(request: Request) -> Answer:
        if request.method == "GET":
            rows = [
                {
                    "id": "1",
                    "sessionId": "s",
                    "iteration": 2_000_000_000,
                    "lineNumber": 0,
                    "content": line,
                }
                for line in stored
            ]
            return Reply(200, {"logs": rows})
        first_time = len([r for r in server.requests if r.method == "POST"]) == 1
        if not first_time or lost == "answer":
            stored.extend(request.body["lines"])
        return Reset() if first_time else Reply(201)

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.LATE_RESULT, {**DONE, "session_uuid": "s"})
        assert await outbox.flushed("t", timeout_s=5)
    assert stored == ['{"type":"late_result","status":"completed","content":"done"}']


async def test_a_cost_without_a_task_is_looked_for_with_the_agent(tmp_path: Path) -> None:
    answers = iter([Reset(), Reply(200, {"costs": [{"sessionId": "s-1"}]})])
    async with (
        serving(lambda _: next(answers)) as server,
        running_outbox(server.url, tmp_path) as outbox,
    ):
        outbox.put("worker", WriteKind.COST, {"sessionId": "s-1", "agentId": "a"})
        assert await outbox.flushed("worker", timeout_s=5)
    assert server.requests[1].query == {"agentId": "a", "limit": "500"}


async def test_a_refused_connection_needs_no_looking(tmp_path: Path) -> None:
    clock, port = FakeClock(), free_port()
    async with running_outbox(f"http://127.0.0.1:{port}", tmp_path, clock=clock) as outbox:
        outbox.put("t", WriteKind.COST, COST)
        await until(lambda: bool(clock.slept))
        async with serving(lambda _: Reply(201), port=port) as server:
            assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == ["POST /api/session-costs"]


async def test_a_server_that_cannot_be_asked_gets_it_again(tmp_path: Path) -> None:
    answers = iter([Reset(), Reply(404, "Not Found"), Reply(201)])
    async with (
        serving(lambda _: next(answers)) as server,
        running_outbox(server.url, tmp_path) as outbox,
    ):
        outbox.put("t", WriteKind.COST, COST)
        assert await outbox.flushed("t", timeout_s=5)
    assert len(server.requests) == 3


async def test_what_is_not_understood_is_not_fatal(tmp_path: Path) -> None:
    """Written by another version of the program, say, or by a mistake of ours."""
    clock = FakeClock()
    with stored(tmp_path, clock) as database:
        database.run("INSERT INTO outbox (lane, kind, args) VALUES ('t', 'telepathy', '{}')")
        database.run("INSERT INTO outbox (lane, kind, args) VALUES ('t', 'progress', '{}')")
        database.run("INSERT INTO outbox (lane, kind, args) VALUES ('t', 'progress', '[')")
        database.run(
            "INSERT INTO outbox (lane, kind, args)"
            """ VALUES ('t', 'progress', '{"task_id": "..", "text": "x"}')"""
        )
    with capture_logs() as lines:
        async with (
            serving(lambda _: Reply()) as server,
            running_outbox(server.url, tmp_path) as outbox,
        ):
            outbox.put("t", WriteKind.FINISH, DONE)
            assert await outbox.flushed("t", timeout_s=5)
    assert server.calls == [FINISH]
    assert [line["event"] for line in lines] == ["outbox.dropped"] * 4


def test_a_full_outbox_never_gives_up_a_result(tmp_path: Path) -> None:
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database, max_bytes=1000)
        for number in range(50):
            queue.add(f"t-{number}", WriteKind.FINISH, {"x": "y" * 500})
        assert queue.count() == 50


async def test_put_never_fails_and_never_waits(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"task_id": "t", "text": "x", "nan": float("nan"), "s": "\ud800"}
    odd["more"] = {1: object(), "deep": None, "b": b"bytes"}
    async with serving(lambda _: Reply()) as server, running_outbox(server.url, tmp_path) as outbox:
        with anyio.fail_after(HANG_S):
            outbox.put("t", WriteKind.NOTE, odd)
            assert await outbox.flushed("t", timeout_s=60)
            outbox.put("t", WriteKind.NOTE, note("woken"))
            assert await outbox.flushed("t", timeout_s=60)
    assert texts(server.requests) == ["x", "woken"]


async def test_a_lane_has_one_request_at_a_time(tmp_path: Path) -> None:
    async with serving(lambda _: Hang()) as server, running_outbox(server.url, tmp_path) as outbox:
        for number in range(5):
            outbox.put("t", WriteKind.NOTE, note(str(number)))
            await until(lambda: bool(server.requests))
        assert not await outbox.flushed("t", timeout_s=0.1)
    assert texts(server.requests) == ["0"]


async def test_progress_that_is_replaced_while_it_is_sent_still_holds_its_lane(
    tmp_path: Path,
) -> None:
    def script(request: Request) -> Answer:
        return Hang() if request.path.endswith("/progress") else Reply()

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.PROGRESS, note("old"))
        await until(lambda: bool(server.requests))
        outbox.put("t", WriteKind.PROGRESS, note("new"))
        outbox.put("t", WriteKind.COST, COST)  # of another stream: it need not wait
        await until(lambda: len(server.requests) == 2)
        outbox.put("t", WriteKind.FINISH, DONE)
        assert not await outbox.flushed("t", timeout_s=0.2)
        assert texts(server.requests) == ["old"]
        assert FINISH not in server.calls


async def test_a_write_that_holds_nothing_up_does_not_step_aside(tmp_path: Path) -> None:
    with stored(tmp_path, FakeClock()) as database:
        queue = Queue(database)
        queue.add("t", WriteKind.COST, COST)
        queue.add("t", WriteKind.CONTEXT, {"task_id": "t", "snapshot": {}})
        ((cost, _), (context, _)) = queue.next("t")
        assert (item := queue.get(cost)) is not None
        assert not queue.move_to_end(item)
        queue.add("t", WriteKind.FINISH, DONE)
        assert queue.move_to_end(item)
        assert [item_id for item_id, _ in queue.next("t")] == [context]


async def test_cancelling_keeps_what_is_under_way(tmp_path: Path) -> None:
    async with serving(lambda _: Hang()) as server:
        async with running_outbox(server.url, tmp_path) as outbox:
            outbox.put("t", WriteKind.COST, COST)
            await until(lambda: bool(server.requests))
        # The next process cannot know whether that one arrived.
        server.script = lambda request: (
            Reply(200, {"costs": [COST]}) if request.method == "GET" else Reply(201)
        )
        async with running_outbox(server.url, tmp_path) as outbox:
            assert await outbox.flush_all(5)
    assert [request.method for request in server.requests] == ["POST", "GET"]


async def test_an_error_elsewhere_is_not_swallowed(tmp_path: Path) -> None:
    """What is no trouble of the API ends the outbox, and with it the worker."""

    class Broken(FakeClock):
        async def sleep(self, seconds: float) -> None:
            raise RuntimeError("time is up")

    async with stopped_outbox(
        f"http://127.0.0.1:{free_port()}", tmp_path, clock=Broken()
    ) as outbox:
        outbox.put("t", WriteKind.NOTE, note("x"))
        with pytest.raises(BaseExceptionGroup) as caught:
            await outbox.run()
    assert caught.group_contains(RuntimeError)
