"""Notes when it starts and ends, each with its task: ``starts.py <file> [<seconds>]``."""

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
begin()
words("at it")
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
note("end")
end("done")
