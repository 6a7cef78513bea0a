"""One of many that speak at the same time: ``crowd.py <directory>``.

All use the same words and the same ids of tool calls, beside what carries the task's own id and the
number that its task names. It prints the first half, puts its pid into ``half/<number>``, and waits
for ``go`` before it prints the rest; told to stay, it waits for ever. What it printed it notes in
``printed/<task>``.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

ROUNDS = 6

place, task = Path(sys.argv[1]), os.environ["AGENT_SWARM_TASK_ID"]
said = re.search(rb"number=(\d+)( stays)?", sys.stdin.buffer.read())
number, stays = int(said[1]), bool(said[2])
printed = (place / "printed" / task).open("w")


def say(**event):
    line = json.dumps({**event, "of": task})
    print(line, file=printed, flush=True)
    print(line, flush=True)


def speak(n):
    call = {"tool_call_id": f"call-{n}", "tool_name": "Bash"}
    say(type="tool_start", **call, args={"description": f"Step {n}"})
    say(type="message", role="assistant", content="The same words from everybody.")
    say(type="compaction", pre_compact_tokens=1000 * number + n)
    say(type="tool_end", **call, result="The same result for everybody.")
    say(type="progress", message=f"step {n} of {task}")


def wait_for(path):
    while not path.exists():
        time.sleep(0.05)


say(type="session_init", session_id=f"session-of-{task}", model="m-1")
say(type="context_usage", context_used_tokens=number, context_total_tokens=100_000)
for n in range(ROUNDS // 2):
    speak(n)
(place / "half" / f"{number}.part").write_text(str(os.getpid()))
(place / "half" / f"{number}.part").rename(place / "half" / str(number))
wait_for(place / ("never" if stays else "go"))
for n in range(ROUNDS // 2, ROUNDS):
    speak(n)
say(type="result", output=f"result of {task}", cost={"total_cost_usd": number / 100})
