"""The scripted agent of the demo: no model, no network, but the real path of a task.

It reads the prompt from standard input and speaks claude's stream-json on standard output. Its two
tool calls are real (it lists its directory and writes a file there), its thinking is scripted, and
its price is invented; the demo says so.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

MODEL = "scripted-demo"
PAUSE_S = 0.35
"""Between two events, so that people can watch."""
SESSION = str(uuid.uuid4())


def say(**event: Any) -> None:
    """Print one event the way the claude CLI does."""
    print(json.dumps({**event, "session_id": SESSION}), flush=True)


def assistant(*blocks: dict[str, Any], output_tokens: int) -> None:
    """Print one assistant turn."""
    usage = {
        "input_tokens": 1200,
        "cache_read_input_tokens": 800,
        "cache_creation_input_tokens": 0,
        "output_tokens": output_tokens,
    }
    message = {"id": "msg_demo", "role": "assistant", "model": MODEL, "content": list(blocks)}
    say(type="assistant", message={**message, "usage": usage}, parent_tool_use_id=None)
    time.sleep(PAUSE_S)


def tool(name: str, call_id: str, arguments: dict[str, Any], answer: str) -> None:
    """Print a tool call and its answer."""
    assistant(
        {"type": "tool_use", "id": call_id, "name": name, "input": arguments}, output_tokens=40
    )
    block = {"type": "tool_result", "tool_use_id": call_id, "content": answer, "is_error": False}
    say(type="user", message={"role": "user", "content": [block]}, parent_tool_use_id=None)
    time.sleep(PAUSE_S)


def main() -> int:
    """Play the script."""
    prompt = sys.stdin.read()
    started_s = time.monotonic()
    say(type="system", subtype="init", cwd=str(Path.cwd()), model=MODEL, tools=["Bash", "Write"])
    assistant({"type": "text", "text": "I will look around, then leave a note."}, output_tokens=20)
    names = sorted(path.name for path in Path.cwd().iterdir())
    listing = "\n".join(names[:20]) or "(empty)"
    tool("Bash", "call_1", {"command": "ls", "description": "List the directory"}, listing)
    note = Path.cwd() / "hello-from-the-swarm.md"
    note.write_text(f"# Hello\n\nThe task had {len(prompt)} characters.\n", encoding="utf-8")
    tool("Write", "call_2", {"file_path": str(note), "content": "…"}, f"wrote {note.name}")
    words = f"Done: I found {len(names)} entries in the working directory and wrote {note.name}."
    assistant({"type": "text", "text": words}, output_tokens=30)
    counts = {"inputTokens": 3600, "outputTokens": 130, "cacheReadInputTokens": 2400}
    say(
        type="result",
        subtype="success",
        is_error=False,
        result=words,
        num_turns=4,
        duration_ms=round((time.monotonic() - started_s) * 1000),
        total_cost_usd=0.0042,
        usage={"input_tokens": 3600, "output_tokens": 130, "cache_read_input_tokens": 2400},
        modelUsage={MODEL: {**counts, "cacheCreationInputTokens": 0, "costUSD": 0.0042}},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
