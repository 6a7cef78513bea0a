"""A gateway that refuses large requests: by a status, or by closing the connection unread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from fake_api import Reply
from outbox_rig import running_outbox

from agent_swarm_worker.outbox.queue import SET_ASIDE, WriteKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import SocketStream

pytestmark = pytest.mark.anyio
HTML = "<html>Request Entity Too Large</html>"


class Gateway:
    """Looks at the length only; ``answers`` says whether it answers before it closes."""

    def __init__(self, max_bytes: int, *, answers: bool) -> None:
        self.max_bytes, self.answers = max_bytes, answers
        self.passed: list[Any] = []
        self.refused = 0
        self.url = ""

    async def serve(self, stream: SocketStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                data = b""
                while True:
                    while b"\r\n\r\n" not in data:
                        data += await stream.receive()
                    head, _, data = data.partition(b"\r\n\r\n")
                    lengths = [line for line in head.lower().split(b"\r\n") if b"t-length" in line]
                    length = int(lengths[0].split(b":")[1]) if lengths else 0
                    if length > self.max_bytes:
                        self.refused += 1
                        if self.answers:
                            await Reply(413, HTML, "text/html").send(stream)
                        return
                    while len(data) < length:
                        data += await stream.receive()
                    body, data = data[:length], data[length:]
                    self.passed.append((head.split(b" ")[1].decode(), orjson.loads(body or b"{}")))
                    await Reply(200, {"task": {"id": "t", "status": "completed"}}).send(stream)


@contextlib.asynccontextmanager
async def gateway(max_bytes: int, *, answers: bool) -> AsyncIterator[Gateway]:
    limit = Gateway(max_bytes, answers=answers)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    limit.url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, limit.serve)
        yield limit
        group.cancel_scope.cancel()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_result_gets_through(tmp_path: Path, answers: bool) -> None:
    args = {"task_id": "t", "status": "completed", "output": "x" * 3_000_000, "journal": "here"}
    async with (
        gateway(100_000, answers=answers) as limit,
        running_outbox(limit.url, tmp_path) as it,
    ):
        it.put("t", WriteKind.FINISH, args)
        assert await it.flushed("t", timeout_s=20)
    ((_, body),) = [call for call in limit.passed if call[0].endswith("/finish")]
    assert body["status"] == "completed"
    assert 20_000 < len(body["output"]) < 100_000
    assert "of 3000000 characters" in body["output"]


async def test_a_failure_is_shortened_as_well(tmp_path: Path) -> None:
    args = {"task_id": "t", "status": "failed", "failure_reason": "why " * 10_000}
    async with gateway(500, answers=True) as limit, running_outbox(limit.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.FINISH, args)
        assert await outbox.flushed("t", timeout_s=20)
    assert "shortened" in limit.passed[0][1]["failureReason"]


async def test_a_batch_is_divided_by_bytes(tmp_path: Path) -> None:
    """One of 300 events is large; the others go with few requests, and all arrive."""
    batch = [{"event": "tool.end", "taskId": "t", "data": {"n": n}} for n in range(300)]
    batch[7]["data"] = {"n": 7, "said": "y" * 400_000}
    async with (
        gateway(50_000, answers=True) as limit,
        running_outbox(limit.url, tmp_path) as outbox,
    ):
        outbox.put("t", WriteKind.EVENTS, {"events": batch})
        assert await outbox.flushed("t", timeout_s=20)
    arrived = [event["data"] for _, body in limit.passed for event in body["events"]]
    assert [data["n"] for data in arrived] == list(range(300))
    assert "shortened" in arrived[7]["said"]
    assert limit.refused + len(limit.passed) < 30


async def test_what_nothing_helps_waits_aside(tmp_path: Path) -> None:
    """A gateway that lets no note pass either keeps nothing but this write back."""
    async with gateway(40, answers=True) as limit, running_outbox(limit.url, tmp_path) as outbox:
        outbox.put("t", WriteKind.PROGRESS, {"task_id": "t", "text": "p" * 500})
        outbox.put("t", WriteKind.FINISH, {"task_id": "t", "status": "completed"})
        assert await outbox.flushed("t", timeout_s=20)
        assert outbox.pending(SET_ASIDE) == 1
        limit.max_bytes = 10_000
        assert await outbox.flushed(SET_ASIDE, timeout_s=20)
    assert [path.rsplit("/")[-1] for path, _ in limit.passed] == ["finish", "progress"]
