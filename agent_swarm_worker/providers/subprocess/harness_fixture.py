"""Provide the harness fixture of ``subprocess``, an example of a fixture.

Its agent writes its prompt to a file, obeys the last line, and prints normalized events.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

AGENT = """
import json, pathlib, subprocess, sys, uuid
def say(kind, **fields):
    print(json.dumps({"type": kind, **fields}), flush=True)
prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
note = pathlib.Path(sys.argv[1]) / str(uuid.uuid4())
note.write_bytes(prompt.encode())
say("session_init", session_id=str(uuid.uuid4()))
verb, _, rest = (prompt.strip().split("\\n")[-1]).partition(": ")
if verb == "work":
    say("tool_start", tool_call_id="1", tool_name="sleep", args={"seconds": rest})
    subprocess.run(["sleep", rest])
    say("tool_end", tool_call_id="1", tool_name="sleep", result="slept")
answer = rest if verb == "answer" else "done"
say("message", role="assistant", content=answer)
say("result", output=answer, is_error=False)
"""


class SubprocessFixture:
    """Configures the scripted agent as the command."""

    def __init__(self) -> None:
        self._prompts = Path()

    @property
    def env(self) -> Mapping[str, str]:
        """The command line of the agent."""
        words = [sys.executable, "-S", "-c", AGENT, str(self._prompts)]
        return {"HARNESS_COMMAND": shlex.join(words)}

    def answers(self, words: str) -> str:
        """Return a prompt to which the agent answers exactly `words`."""
        return f"answer: {words}"

    def works(self, seconds: float) -> str:
        """Return a prompt to which the agent sleeps for so long in a tool."""
        return f"work: {seconds}"

    def heard(self) -> Sequence[str]:
        """Return the prompts so far."""
        files = sorted(self._prompts.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes().decode("utf-8") for path in files]

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-fixture-")
        self._prompts = Path(self._folder.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._folder.cleanup()
