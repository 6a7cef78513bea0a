"""A faulty codex CLI; the variable ``FAKE`` chooses the fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

THREAD = "01a00000-0000-7000-8000-000000000001"
HOW = os.environ.get("FAKE", "")


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def note(**facts: object) -> None:
    with Path(os.environ["FAKE_LOG"]).open("a") as file:
        file.write(json.dumps(facts) + "\n")


def helped() -> None:
    kind = "[OPTIONS] [PROMPT]" if HOW == "old" else "app-server [OPTIONS] [COMMAND]"
    print(f"The agent.\n\nUsage: codex {kind}\n")


def executed() -> int:
    prompt = sys.stdin.read()
    home = Path(os.environ["CODEX_HOME"])
    note(argv=sys.argv[1:], prompt=prompt, config=(home / "config.toml").read_text())
    if "resume" in sys.argv and HOW != "other_thread":
        print(f"Error: no rollout found for thread id {sys.argv[-2]}", file=sys.stderr)
        return 1
    say(type="thread.started", thread_id=THREAD)
    if HOW == "garbage":
        print("not JSON at all\n[1,2\n" + "x" * 100_000)
        say(type="item.completed")
    if HOW == "no_end":
        return 0
    say(type="turn.started")
    say(type="item.completed", item={"id": "i", "type": "agent_message", "text": "Did it."})
    say(type="turn.completed", usage={"input_tokens": 10, "output_tokens": 1})
    if HOW == "stays":
        time.sleep(600)
    return 0


def served() -> int:
    for text in sys.stdin:
        line = json.loads(text)
        method, number = line["method"], line.get("id")
        note(method=method)
        if HOW == "mute":
            continue
        if method == "initialize":
            say(id=number, result={})
        elif method == "thread/start":
            if HOW == "refuses":
                say(id=number, error={"code": -32600, "message": "unknown variant"})
                continue
            say(id=number, result={"thread": {"id": THREAD}, "model": "m"})
        elif method == "turn/start":
            say(id=number, result={"turn": {"id": "t"}})
            if HOW == "dies":
                return 3
            if HOW == "deaf":
                os.environ["LEFT"] = "1"
                subprocess.Popen(["sleep", "987"], start_new_session=True)
                say(method="item/started", params={"item": {"type": "commandExecution"}})
                continue
            item = {"id": "i", "type": "agentMessage", "text": "Did it."}
            say(method="item/completed", params={"threadId": THREAD, "item": item})
            turn = {"id": "t", "status": "completed"}
            say(method="turn/completed", params={"threadId": THREAD, "turn": turn})
    if HOW == "stays":
        time.sleep(600)
    return 0


if __name__ == "__main__":
    if "--help" in sys.argv:
        helped()
        sys.exit(0)
    sys.exit(executed() if "exec" in sys.argv else served())
