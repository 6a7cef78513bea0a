"""Run ``echo-agent``: a stand-in for a coding agent, without a model.

Each line of its prompt may be a command: ``run: COMMAND`` runs a program, ``echo: TEXT`` sets the
answer, ``fail: REASON`` ends it. It prints JSON lines in a format of its own, and stores its
prompts in ``ECHO_AGENT_HOME``, so that a later session can resume.
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
    """Read the prompt from standard input and run its commands."""
    parser = argparse.ArgumentParser(prog="echo-agent")
    parser.add_argument("--version", action="version", version="echo-agent 0.1.0")
    parser.add_argument("--model", default="echo-1")
    parser.add_argument("--resume", metavar="SESSION")
    parser.add_argument("--system-file", type=Path)
    args, _ = parser.parse_known_args()
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not prompt.strip():
        print("echo-agent: there is nothing to do", file=sys.stderr)
        return 2
    session_id = args.resume or str(uuid.uuid4())
    prompts = store(session_id, prompt, is_new=args.resume is None)
    say("hello", session=session_id, model=args.model, told=prompts)
    return act(prompt)


def store(session_id: str, prompt: str, *, is_new: bool) -> int:
    """Store the prompt with the earlier ones; return their number."""
    home = Path(os.environ.get("ECHO_AGENT_HOME") or Path.home() / ".echo-agent")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / f"{session_id}.json"
    prompts = [] if is_new else json.loads(path.read_text(encoding="utf-8"))
    prompts.append({"at": time.time(), "prompt": prompt})
    path.write_text(json.dumps(prompts), encoding="utf-8")
    return len(prompts)


def act(prompt: str) -> int:
    """Run the commands, line by line."""
    answer = "I was told nothing."
    for line in prompt.split("\n"):
        command, colon, argument = line.strip().partition(": ")
        if colon and command == "run":
            say("call", id=(call_id := uuid.uuid4().hex), tool="shell", input={"command": argument})
            done = subprocess.run(argument, shell=True, capture_output=True, check=False)  # noqa: S602 - that is its task
            output = done.stdout.decode("utf-8", "replace")
            say("answered", id=call_id, output=output, failed=done.returncode != 0)
        elif colon and command == "echo":
            answer = argument
        elif colon and command == "fail":
            say("bye", ok=False, why=argument)
            return 1
    say("text", text=answer)
    say("bye", ok=True, tokens={"in": len(prompt) // 4, "out": len(answer) // 4})
    return 0


if __name__ == "__main__":
    sys.exit(main())
