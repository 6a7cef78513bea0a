"""Says a little, calls a tool and ends; notes of what it got rid of: ``lives_briefly.py PLACE``.

Each run has its process id as its name; its notes are the lines of ``run-<name>`` in PLACE.
"""

import os
import sys
import time
from pathlib import Path

from speech import answer, begin, call, end, prompt, words

prompt()
name = str(os.getpid())
with (Path(sys.argv[1]) / f"run-{name}").open("a") as notes:
    begin(f"s-{name}")
    for number in range(3):
        words(f"{name} says {number}")
        print(f"said {number}", file=notes, flush=True)
        time.sleep(0.003)
    call(f"t-{name}", "Bash", command="true", description="Do nothing")
    answer(f"t-{name}", "done")
    print("called", file=notes, flush=True)
    end(f"{name} is done", session_id=f"s-{name}")
    print("ended", file=notes, flush=True)
