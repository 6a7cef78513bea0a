"""Doubles at the two edges of the room: the queue that takes writes, and time."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import orjson


class Recorder:
    """A write queue that remembers; it insists on plain JSON, as a durable one must."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, str, dict]] = []
        self.broken = False

    def put(self, lane, kind, args):
        if self.broken:
            raise OSError("disk full")
        self.puts.append((lane, kind, json.loads(orjson.dumps(args))))

    def transaction(self):
        return contextlib.nullcontext()

    def mark_reported(self):
        pass

    def kinds(self):
        return [kind for _, kind, _ in self.puts]

    def of(self, kind):
        return [args for _, put_kind, args in self.puts if put_kind == kind]

    def events(self, name=None):
        every = [event for args in self.of("events") for event in args["events"]]
        return [event for event in every if name in (None, event["event"])]

    def shipped(self):
        """The log lines, as delivery would read them."""
        lines = []
        for args in self.of("logs"):
            if "text" in args:
                lines += args["text"].splitlines()
                continue
            data = Path(args["path"]).read_bytes()[args["start"] : args["end"]]
            lines += data.decode().splitlines()
        return lines


class ManualClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def monotonic(self):
        return 1000.0 + self.elapsed_s

    def now(self):
        return datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)

    async def sleep(self, seconds):
        woken = anyio.Event()
        self._sleepers.append((self.elapsed_s + seconds, woken))
        await woken.wait()

    def skip(self, seconds):
        """Move on without waking anyone."""
        self.elapsed_s += seconds

    async def pass_time(self, seconds, step_s=0.5):
        """Move on in small steps and let whoever wakes do its work."""
        for _ in range(round(seconds / step_s)):
            self.elapsed_s += step_s
            due = [woken for at, woken in self._sleepers if at <= self.elapsed_s]
            self._sleepers = [(at, woken) for at, woken in self._sleepers if at > self.elapsed_s]
            for woken in due:
                woken.set()
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()


class WordRedactor:
    """Takes one word out. The real one has tests of its own; here it matters *when* it is asked."""

    SECRET = "hunter2-hunter2"

    def add(self, name, value): ...

    def data(self, value):
        return value.replace(self.SECRET.encode(), b"[REDACTED]")

    def text(self, value):
        return value.replace(self.SECRET, "[REDACTED]")

    def leaves(self, value):
        return json.loads(self.text(json.dumps(value)))

    def json_line(self, line):
        clean = self.data(line)
        return clean, json.loads(clean)

    def json_lines(self, lines):
        return [self.json_line(line) for line in lines]

    def stream(self):
        raise NotImplementedError
