"""Harness fixtures for the conformance checks of harnesses whose real program needs its vendor.

A program of ours stands for it. It writes its prompt to a file, obeys the last line, and prints
what the vendor's program would.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

BODY = """
import json, pathlib, subprocess, sys, uuid
def say(kind, **fields):
    print(json.dumps({"type": kind, **fields, "session_id": session}), flush=True)
prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
(pathlib.Path(sys.argv[1]) / str(uuid.uuid4())).write_bytes(prompt.encode())
session = PREFIX + str(uuid.uuid4())
begin()
verb, _, rest = prompt.strip().split("\\n")[-1].partition(": ")
if verb == "work":
    work(["sleep", rest])
answer = rest if verb == "answer" else "done"
say("assistant", message={"role": "assistant", "content": [{"type": "text", "text": answer}]})
say("result", subtype="success", is_error=False, result=answer)
"""
AMP = """
PREFIX = "T-"
def begin():
    say("system", subtype="init", mcp_servers=[])
def work(words):
    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"cmd": " ".join(words)}}
    say("assistant", message={"role": "assistant", "content": [call]})
    subprocess.run(words)
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "slept"}
    say("user", message={"role": "user", "content": [result]})
"""
CURSOR = """
PREFIX = ""
def begin():
    say("system", subtype="init", model="Auto")
def work(words):
    call = {"args": {"command": " ".join(words)}}
    say("tool_call", subtype="started", call_id="c1", tool_call={"shellToolCall": call})
    subprocess.run(words)
    call["result"] = {"success": {"exitCode": 0, "stdout": "slept", "stderr": ""}}
    say("tool_call", subtype="completed", call_id="c1", tool_call={"shellToolCall": call})
"""


class SyntheticCli:
    """Configures the program as that of a harness."""

    def __init__(self, code: str, binary: str, key: str) -> None:
        self._code, self._binary, self._key = code + BODY, binary, key
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-fixture-")

    @property
    def env(self) -> Mapping[str, str]:
        words = [sys.executable, "-S", "-c", self._code, self._folder.name]
        return {self._binary: shlex.join(words), self._key: "key-of-the-fixture"}

    def answers(self, words: str) -> str:
        return f"answer: {words}"

    def works(self, seconds: float) -> str:
        return f"work: {seconds}"

    def heard(self) -> Sequence[str]:
        files = sorted(Path(self._folder.name).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes().decode("utf-8") for path in files]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._folder.cleanup()


def amp_fixture() -> SyntheticCli:
    return SyntheticCli(AMP, "AMP_BINARY", "AMP_API_KEY")


def cursor_fixture() -> SyntheticCli:
    return SyntheticCli(CURSOR, "CURSOR_BINARY", "CURSOR_API_KEY")
