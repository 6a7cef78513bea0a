"""Content over which a gateway answers as if the API were down, while other requests pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from fake_api import Answer, FakeClock, Reply, Request, Reset, connected, serving
from outbox_rig import delivering, running_outbox, stored
from patience import until

from agent_swarm_worker.outbox.outbox import MAX_WAKES, Outbox
from agent_swarm_worker.outbox.queue import SET_ASIDE, WriteKind

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
NOTE = "POST /api/tasks/t/progress"
FINISH = "POST /api/tasks/t/finish"
HTML = "<html>not now</html>"
BAD = {"task_id": "t", "text": "run <script>"}
DONE = {"task_id": "t", "status": "completed", "output": "see <script>"}
ANSWERS = [Reply(status, HTML, "text/html") for status in (200, 302, 401, 408, 429, 502, 503, 504)]


def passing(request: Request) -> Answer:
    return Reply(200, {"status": "in_progress", "id": "t", "success": True})


@pytest.mark.parametrize("answer", [*ANSWERS, Reset()])
async def test_it_is_masked(tmp_path: Path, answer: Answer) -> None:
    def script(request: Request) -> Answer:
        outbox._client.http.health.record_answer(has_body=True)  # to another request
        return answer if "<script>" in str(request.body) else passing(request)

    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.NOTE, BAD)
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=20)
        assert outbox.pending() == 0
    (note, finish) = (server.bodies(call)[-1] for call in (NOTE, FINISH))
    assert note["progress"].startswith("run ‹script›\n")  # noqa: RUF001 - the mask
    assert finish["output"].startswith("see ‹script›\n")  # noqa: RUF001 - the mask


@pytest.mark.parametrize("answer", [Reply(200, HTML), Reset(), Reply(429, {"error": "slow"})])
async def test_what_no_form_helps_is_set_aside_and_rests(tmp_path: Path, answer: Answer) -> None:
    clock, is_open = FakeClock(), False

    def script(request: Request) -> Answer:
        outbox._client.http.health.record_answer(has_body=True)
        return answer if request.call == NOTE and not is_open else passing(request)

    async with (
        serving(script) as server,
        running_outbox(server.url, tmp_path, clock=clock) as outbox,
    ):
        for number in range(2):
            outbox.put("t", WriteKind.NOTE, {"task_id": "t", "text": f"note {number}"})
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=20)
        assert outbox.pending(SET_ASIDE) == 2
        before, slept = server.calls.count(NOTE), len(clock.slept)
        await until(lambda: len(clock.slept) >= slept + 20)
        assert min(clock.slept[slept + 2 :]) >= 5
        assert server.calls.count(NOTE) - before < 20 * 10
        is_open = True
        assert await outbox.flushed(SET_ASIDE, timeout_s=20)
    assert server.calls.count(FINISH) == 1


async def test_the_ends_of_outages_that_a_write_makes_itself_do_not_hurry_it(
    tmp_path: Path,
) -> None:
    class Stuck(FakeClock):
        async def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)
            await anyio.sleep_forever()

    def script(request: Request) -> Answer:
        return Reset() if request.call == FINISH else Reply(200, {})

    clock = Stuck()
    async with serving(script) as server:
        with stored(tmp_path, clock) as database:
            async with connected(server.url, clock=clock) as client:
                outbox = Outbox(database, client, clock=clock)
                async with delivering(outbox):
                    outbox.put("t", WriteKind.FINISH, DONE)
                    for number in range(10):
                        attempts = min(number + 1, MAX_WAKES + 1)
                        await until(lambda due=attempts: len(clock.slept) >= due)  # type: ignore[misc]
                        await client.agents.ping()
    assert len(clock.slept) == MAX_WAKES + 1


async def test_one_plain_404_loses_no_line(tmp_path: Path) -> None:
    """Every server has these routes, so it is a gateway's answer, also to the first request."""
    hidden = {"/api/session-logs", "/api/events/batch", "/api/session-costs"}
    answered: set[str] = set()

    def script(request: Request) -> Answer:
        if request.path in hidden and request.path not in answered:
            answered.add(request.path)
            return Reply(404, "Not Found", "text/plain")
        return passing(request)

    logs = {"text": "a line\n", "session_uuid": "s", "iteration": 1, "cli": "x", "task_id": "t"}
    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        for _ in range(2):
            outbox.put("t", WriteKind.LOGS, logs)
        outbox.put("t", WriteKind.EVENTS, {"events": [{"event": "tool.end", "taskId": "t"}]})
        outbox.put("t", WriteKind.COST, {"sessionId": "s", "taskId": "t", "totalCostUsd": 1})
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=20)
    assert answered == hidden
    assert server.calls.count("POST /api/session-logs") == 3
    assert [server.calls.count(f"POST {path}") for path in sorted(hidden)[:2]] == [2, 2]


async def test_an_empty_answer_is_no_delivery(tmp_path: Path) -> None:
    """Of routes that answer JSON: an answer without a body is not the server's."""
    empty = iter([Reply(200, b"")] * 3)

    def script(request: Request) -> Answer:
        return next(empty, passing(request)) if request.method == "POST" else passing(request)

    logs = {"text": "a line\n", "session_uuid": "s", "iteration": 1, "cli": "x"}
    async with serving(script) as server, running_outbox(server.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.LOGS, logs)
        outbox.put("t", WriteKind.FINISH, DONE)
        assert await outbox.flushed("t", timeout_s=20)
    assert server.calls == ["POST /api/session-logs"] * 4 + [FINISH]
