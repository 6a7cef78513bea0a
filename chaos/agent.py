"""A harness that records each line that it prints, for the comparison with the stored ones.

Runs as ``python -I -S agent.py <truth directory> <seed>``; knows nothing of this project. For each
line it notes that it is about to say it, and that the pipe took it. What a run does is drawn from
the seed and the task, so that the same seed gives the same work.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import signal
import sys
import time
import uuid
import zlib
from typing import Any

WORDS = (
    r"the quick brown fox näht über 日本語 🦊 zwölf \ \" quoted".split()  # noqa: SIM905 - two lines instead of fourteen
)
LONG_LINE_BYTES = 200_000
FOREVER_S = 600


class Truth:
    """The notes of one run; each is one write on a file opened for appending."""

    def __init__(self, folder: str, run: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(pathlib.Path(folder, f"run-{run}.jsonl"), flags, 0o600)

    def note(self, what: str, **more: object) -> None:
        record = {"at": time.monotonic(), "what": what, **more}
        os.write(self._file, json.dumps(record).encode() + b"\n")


class Run:
    """Says numbered, checksummed lines of claude's stream-json."""

    def __init__(self, folder: str, seed: str) -> None:
        self.task = os.environ["AGENT_SWARM_TASK_ID"]
        self.rng = random.Random(f"{seed}/{self.task}")
        self.run = uuid.uuid4().hex[:12]
        self.truth = Truth(folder, self.run)
        self.cost = zlib.crc32(self.run.encode()) % 900_000 + 100_000
        self.secret = pathlib.Path(folder, "secret").read_text(encoding="utf-8")
        self.n = 0

    def say(self, payload: str, is_secret: bool = False, **event: Any) -> None:
        """Say one line; the mark in it survives whatever else is made of the line."""
        total = "secret" if is_secret else f"{zlib.crc32(payload.encode()):08x}"
        event["chaos"] = f"{self.run} {self.n} {total} {payload}"
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        self.truth.note("try", n=self.n, type=event["type"])
        try:
            while line:
                line = line[os.write(1, line) :]
        except OSError:
            self.truth.note("broken", n=self.n)
            if self.rng.random() < 0.5:
                time.sleep(FOREVER_S)  # Somebody else has to end it.
            sys.exit(1)
        self.truth.note("said", n=self.n)
        self.n += 1

    def words(self) -> str:
        return " ".join(self.rng.choices(WORDS, k=self.rng.randint(3, 60)))

    def speak(self) -> None:
        """Say something of some kind."""
        kind = self.rng.random()
        if kind < 0.15:
            self.use_a_tool()
            return
        is_secret = kind > 0.97
        payload = f"I found {self.secret} here" if is_secret else self.words()
        if kind < 0.16:
            payload = (self.words() + " ") * (LONG_LINE_BYTES // 150)
        content = [{"type": "text", "text": payload[:300]}]
        self.say(payload, is_secret, type="assistant", message={"content": content})

    def use_a_tool(self) -> None:
        use: dict[str, Any] = {
            "type": "tool_use",
            "id": f"tool-{self.run}-{self.n}",
            "name": "Bash",
        }
        use["input"] = {"command": f"echo {self.n} {self.run}"}
        self.truth.note("tool", id=use["id"])
        self.say(self.words(), type="assistant", message={"content": [use]})
        result = {"type": "tool_result", "tool_use_id": use["id"], "content": "ok"}
        self.say(self.words(), type="user", message={"content": [result]})

    def end(self, *, is_error: bool) -> None:
        usage = {"input_tokens": self.cost, "output_tokens": 1}
        self.truth.note("result", cost=self.cost, is_error=is_error)
        self.say(
            "",
            type="result",
            subtype="error_during_execution" if is_error else "success",
            is_error=is_error,
            session_id=self.run,
            result=f"done {self.run}",
            total_cost_usd=self.cost / 1e6,
            usage=usage,
            num_turns=1,
            duration_ms=1,
        )

    def work(self, prompt: str) -> int:
        found = re.search(r"chaos:(\d+)", prompt)
        number = int(found.group(1)) if found else None
        self.truth.note("start", run=self.run, task=self.task, pid=os.getpid(), number=number)
        fate, rng = self.rng.random(), self.rng
        if rng.random() < 0.04:
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(name, signal.SIG_IGN)
        if rng.random() < 0.2:
            leave_a_child(rng)
        lines, pace_s = rng.randint(5, 40), rng.uniform(0.01, 0.25)
        self.say("", type="system", subtype="init", session_id=self.run, model="chaos-1")
        for _ in range(lines):
            self.speak()
            time.sleep(rng.uniform(0, 2 * pace_s))
        if fate < 0.05:
            self.truth.note("end", code=7)
            return 7  # without a word
        self.end(is_error=fate < 0.12)
        if fate > 0.97:
            time.sleep(FOREVER_S)
        code = 3 if fate < 0.12 else 0
        self.truth.note("end", code=code)
        return code


def leave_a_child(rng: random.Random) -> None:
    """Leave one behind: in our group or in a session of its own, polite or deaf."""
    goes_away, is_deaf, lets_go = (rng.random() < chance for chance in (0.4, 0.3, 0.5))
    if os.fork():
        return
    if goes_away:
        os.setsid()
        if os.fork():
            os._exit(0)
    if is_deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if lets_go:
        os.closerange(0, 3)
    time.sleep(FOREVER_S)
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(Run(*sys.argv[1:3]).work(sys.stdin.read()))
