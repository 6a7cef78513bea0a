"""``echo-agent``: a coding agent without a brain, in the place of a real one.

Each line of its prompt may be an order: ``run: COMMAND`` runs a command, ``echo: WORDS`` makes
these its answer, ``fail: WHY`` ends it. It prints JSON lines of its own kind, and keeps what it was
told in ``ECHO_AGENT_HOME``, so that a later session can go on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path


def say(kind: str, **fields: object) -> None:
    """Print one event."""
    print(json.dumps({"kind": kind, **fields}), flush=True)


def main() -> int:
    """Take the prompt from standard input and do what it says."""
    parser = argparse.ArgumentParser(prog="echo-agent")
    parser.add_argument("--model", default="echo-1")
    parser.add_argument("--resume", metavar="SESSION")
    parser.add_argument("--system-file", type=Path)
    args, _ = parser.parse_known_args()
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not prompt.strip():
        print("echo-agent: there is nothing to do", file=sys.stderr)
        return 2
    session_id = args.resume or str(uuid.uuid4())
    told = remember(session_id, prompt, is_new=args.resume is None)
    say("hello", session=session_id, model=args.model, told=told)
    return act(prompt)


def remember(session_id: str, prompt: str, *, is_new: bool) -> int:
    """Keep the prompt with those before it; return how many there are."""
    home = Path(os.environ.get("ECHO_AGENT_HOME") or Path.home() / ".echo-agent")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / f"{session_id}.json"
    told = [] if is_new else json.loads(path.read_text(encoding="utf-8"))
    told.append({"at": time.time(), "prompt": prompt})
    path.write_text(json.dumps(told), encoding="utf-8")
    return len(told)


def act(prompt: str) -> int:
    """Follow the orders, line by line."""
    answer = "I was told nothing."
    for line in prompt.split("\n"):
        order, colon, words = line.strip().partition(": ")
        if colon and order == "run":
            say("call", id=(call_id := uuid.uuid4().hex), tool="shell", input={"command": words})
            done = subprocess.run(words, shell=True, capture_output=True, check=False)  # noqa: S602 - that is its task
            output = done.stdout.decode("utf-8", "replace")
            say("answered", id=call_id, output=output, failed=done.returncode != 0)
        elif colon and order == "echo":
            answer = words
        elif colon and order == "fail":
            say("bye", ok=False, why=words)
            return 1
    say("text", text=answer)
    say("bye", ok=True, tokens={"in": len(prompt) // 4, "out": len(answer) // 4})
    return 0


if __name__ == "__main__":
    sys.exit(main())
