"""Notes when it starts and ends, with its task: ``starts.py <file> [<seconds> [silent]]``."""

import os
import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words


def note(what):
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{what} {os.environ['AGENT_SWARM_TASK_ID']}\n")


prompt()
note("start")
if "silent" not in sys.argv:
    begin()
    words("at it")
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
note("end")
if "silent" not in sys.argv:
    end("done")
