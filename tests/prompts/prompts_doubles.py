"""Doubles of the server for prompts, and a clock that a test advances."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio

from agent_swarm_worker.api.resources import Rendered
from agent_swarm_worker.api.wire.tasks import Task
from agent_swarm_worker.errors import ApiRefused

SECRET = "s3cr3t-value-of-the-operator"


class ManualClock:
    def __init__(self):
        self.elapsed_s = 0.0

    def monotonic(self):
        return self.elapsed_s

    def now(self):
        return datetime(2026, 11, 20, 12, tzinfo=UTC)

    async def sleep(self, seconds):
        self.elapsed_s += seconds


class RenderServer:
    """Knows the texts it is given; can refuse, hang, or skip."""

    def __init__(self, texts=None, *, skipped=(), error=None, hangs=False):
        self.texts, self.skipped = texts or {}, skipped
        self.error, self.hangs = error, hangs
        self.asked = []
        self.at_once = self.most_at_once = 0

    async def render_template(self, event_type, variables, *, agent_id=None):
        self.asked.append((event_type, dict(variables), agent_id))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hangs:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
            error = self.error.get(event_type) if isinstance(self.error, dict) else self.error
            if error is not None:
                raise error
        finally:
            self.at_once -= 1
        if event_type in self.skipped:
            return Rendered(text="", skipped=True)
        text = self.texts.get(event_type)
        return None if text is None else Rendered(text=text)


class TaskStore:
    """Tasks with their logs and steering messages, as the server would return them."""

    def __init__(self, *rows, logs=None, messages=None):
        self.tasks = {row["id"]: Task.from_wire(row) for row in rows}
        self.logs, self.messages = logs or {}, messages or {}
        self.read = []

    async def get(self, task_id):
        self.read.append(task_id)
        if task_id not in self.tasks:
            raise ApiRefused("http://api", 404, "Task not found")
        return self.tasks[task_id]

    async def session_logs(self, task_id, *, limit):
        return self.logs.get(task_id, ())[:limit]

    async def of_task(self, task_id):
        return self.messages.get(task_id, ())
