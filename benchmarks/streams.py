"""Generate outputs of a coding agent in Claude Code's stream-json: one file per kind of session.

Each stream is the same in every run. Every tool call differs from every other, so that nothing is
saved by having seen it before; one line in `SECRET_EVERY` contains a secret of the environment.
"""

from __future__ import annotations

import itertools
import json
import random
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_BYTES = 480
READ_BYTES = 40_000
SECRETS = 20
SECRET_EVERY = 200
MODEL = "claude-opus-4-6"
SESSION = "5e551011-0000-4000-8000-0000000000be"


def made_up_secrets() -> dict[str, str]:
    """Return `SECRETS` environment variables whose values must never leave the worker."""
    rng = random.Random(2)
    alphabet = "abcdefghijkLMNOPQ0123456789+/"
    return {f"BENCH_{n}_SECRET": "".join(rng.choices(alphabet, k=32)) for n in range(SECRETS)}


class Writer:
    """Makes lines; `spend` fills the text of a line until the line has its size."""

    def __init__(self) -> None:
        self._rng = random.Random(1)
        verbs = ("read", "write", "check", "module", "test", "the", "of", "result", "function")
        self._words = [f"{self._rng.choice(verbs)}{n}" for n in range(500)] + list(verbs) * 60
        self._secrets = list(made_up_secrets().values())
        self._lines = 0

    def text(self, size: int) -> str:
        """Return about `size` characters of words; now and then a secret among them."""
        self._lines += 1
        words = self._rng.choices(self._words, k=max(1, size // 6))
        if self._lines % SECRET_EVERY == 0:
            words[0] = self._rng.choice(self._secrets)
        return " ".join(words)[: max(1, size)]

    def assistant(self, n: int, block: dict[str, Any]) -> dict[str, Any]:
        message = {
            "id": f"msg_{n:08}",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [block],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 200,
                "cache_read_input_tokens": 3000 + n,
                "output_tokens": 5,
            },
            "context_management": None,
        }
        return self._line("assistant", message)

    def user(self, n: int, content: str) -> dict[str, Any]:
        block = {"type": "tool_result", "tool_use_id": f"toolu_{n:08}", "content": content}
        return self._line("user", {"role": "user", "content": [block]})

    def call(self, n: int) -> dict[str, Any]:
        """Return a tool call like no other: each of the common tools in turn."""
        path = f"/workspace/project/src/package_{n % 97}/module_{n}.py"
        kinds: tuple[tuple[str, dict[str, Any]], ...] = (
            ("Read", {"file_path": path, "offset": n, "limit": 200}),
            ("Bash", {"command": f"grep -rn name_{n} {path}", "description": f"Find name {n}"}),
            ("Grep", {"pattern": f"def function_{n}", "path": path, "output_mode": "content"}),
            ("Edit", {"file_path": path, "old_string": f"a = {n}", "new_string": self.text(60)}),
        )
        name, args = kinds[n % len(kinds)]
        return {"type": "tool_use", "id": f"toolu_{n:08}", "name": name, "input": args}

    def _line(self, kind: str, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": kind,
            "message": message,
            "parent_tool_use_id": None,
            "session_id": SESSION,
            "timestamp": "2026-11-20T12:00:00.000Z",
        }

    def says(self, n: int) -> dict[str, Any]:
        """Return words of the agent, in a line of `LINE_BYTES`."""
        spare = LINE_BYTES - _size(self.assistant(n, {"type": "text", "text": ""}))
        return self.assistant(n, {"type": "text", "text": self.text(spare)})

    def result(self, n: int) -> dict[str, Any]:
        """Return the result of the call `n`, in a line of `LINE_BYTES`."""
        return self.user(n, self.text(LINE_BYTES - _size(self.user(n, ""))))


def _size(event: dict[str, Any]) -> int:
    return len(json.dumps(event, separators=(",", ":")))


def tool_dense(turns: int) -> Iterator[dict[str, Any]]:
    """Yield turns of three lines: some text, a tool call, its result."""
    write = Writer()
    for n in range(turns):
        yield write.says(n)
        yield write.assistant(n, write.call(n))
        yield write.result(n)


def text_dense(turns: int) -> Iterator[dict[str, Any]]:
    """Yield one line of text per turn."""
    write = Writer()
    for n in range(turns):
        yield write.says(n)


def read_heavy(turns: int) -> Iterator[dict[str, Any]]:
    """Yield turns of two lines: the call of a file read, and 40 KB of source code."""
    write, code = Writer(), source_code()
    for n in range(turns):
        path = {"file_path": f"/workspace/project/module_{n}.py"}
        call = {"type": "tool_use", "id": f"toolu_{n:08}", "name": "Read", "input": path}
        yield write.assistant(n, call)
        start = (n * 7919) % (len(code) - READ_BYTES)
        yield write.user(n, code[start : start + READ_BYTES])


def single_event(size: int, kind: str) -> Iterator[dict[str, Any]]:
    """Yield a tool call and one result of `size` bytes, of ``code`` or of ``numbers``."""
    write = Writer()
    yield write.assistant(0, write.call(0))
    numbers = itertools.count(1_000)
    content = source_code() if kind == "code" else ""
    while len(content) < size:
        content += source_code() if kind == "code" else f"{next(numbers) * 7919 / 1000} "
    yield write.user(0, content[:size])


def source_code() -> str:
    """Return some megabytes of Python source."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return "".join(p.read_text("utf-8", "replace") for p in sorted(library.glob("[a-m]*.py")))


def write_stream(path: Path, body: Iterator[dict[str, Any]]) -> list[str]:
    """Write a whole session around `body`; return its lines without their ends."""
    init = {"type": "system", "subtype": "init", "session_id": SESSION, "model": MODEL}
    result = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "All done.",
        "num_turns": 3,
        "total_cost_usd": 1.0,
        "session_id": SESSION,
    }
    events = itertools.chain([{**init, "tools": ["Read", "Bash"]}], body, [result])
    lines = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return lines
