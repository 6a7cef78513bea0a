"""Harness fixtures with programs that imitate claude and codex, for the conformance checks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping

from agent_swarm_worker.providers.subprocess.harness_fixture import SubprocessFixture

_BEGIN = """
import json, pathlib, subprocess, sys, uuid
if "--version" in sys.argv or "--help" in sys.argv:
    print("a scripted agent")
    raise SystemExit
def say(**fields):
    print(json.dumps(fields), flush=True)
prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
(pathlib.Path(sys.argv[1]) / str(uuid.uuid4())).write_bytes(prompt.encode())
verb, _, rest = prompt.strip().split("\\n")[-1].partition(": ")
me = str(uuid.uuid4())
answer = rest if verb == "answer" else "done"
"""
CLAUDE = (
    _BEGIN
    + """
def message(role, *content):
    say(type=role, session_id=me, message={"id": str(uuid.uuid4()), "role": role,
        "model": "claude-sonnet-4-6", "content": list(content),
        "usage": {"input_tokens": 1, "output_tokens": 1}})
say(type="system", subtype="init", session_id=me, model="claude-sonnet-4-6", tools=["Bash"],
    cwd="/", mcp_servers=[])
if verb == "work":
    message("assistant", {"type": "tool_use", "id": "t1", "name": "Bash",
        "input": {"command": "sleep " + rest}})
    subprocess.run(["sleep", rest])
    message("user", {"type": "tool_result", "tool_use_id": "t1", "content": "slept"})
message("assistant", {"type": "text", "text": answer})
say(type="result", subtype="success", is_error=False, session_id=me, result=answer,
    num_turns=1, duration_ms=1, duration_api_ms=1, total_cost_usd=0.01,
    usage={"input_tokens": 1, "output_tokens": 1})
"""
)
CODEX = (
    _BEGIN
    + """
say(type="thread.started", thread_id=me)
say(type="turn.started")
if verb == "work":
    item = {"id": "i1", "type": "command_execution", "command": "sleep " + rest}
    say(type="item.started", item={**item, "status": "in_progress", "aggregated_output": ""})
    subprocess.run(["sleep", rest])
    say(type="item.completed", item={**item, "status": "completed", "exit_code": 0,
        "aggregated_output": "slept"})
say(type="item.completed", item={"id": "i2", "type": "agent_message", "text": answer})
say(type="turn.completed", usage={"input_tokens": 1, "output_tokens": 1})
"""
)


class _Fake(SubprocessFixture):
    program = ""

    def command(self) -> str:
        return shlex.join([sys.executable, "-S", "-c", self.program, str(self._prompts)])


class FakeClaudeFixture(_Fake):
    """Makes the scripted agent claude."""

    program = CLAUDE

    @property
    def env(self) -> Mapping[str, str]:
        return {"CLAUDE_BINARY": self.command(), "ANTHROPIC_API_KEY": "fake"}


class FakeCodexFixture(_Fake):
    """Makes the scripted agent codex."""

    program = CODEX

    @property
    def env(self) -> Mapping[str, str]:
        return {"CODEX_BINARY": self.command(), "OPENAI_API_KEY": "fake"}
