"""Says lines of all sizes on both streams, and notes which it got rid of: ``keeps_count.py PLACE``.

The notes are ``said`` and ``complained`` in PLACE; it begins when ``go`` is there. It waits until
each line is in the journal, so that the worker makes a call for each; when the worker has ``died
at`` one of them it waits no more.
"""

import os
import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words

LONG, LONGER = 30_000, 300_000
PATIENCE_S = 30


def until_recorded(words):
    """Wait until the worker has recorded what was said, if it lives."""
    give_up_at_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at_s and not (place / "died at").exists():
        if any(words in file.read_bytes() for file in place.glob("state/*/logs/**/*.jsonl")):
            return
        time.sleep(0.002)


prompt()
begin()
place = Path(sys.argv[1])
while not (place / "go").exists():
    time.sleep(0.005)
with (place / "said").open("a") as said, (place / "complained").open("a") as complained:
    for number in range(24):
        filling = {7: LONG, 15: LONGER}.get(number, number * 10) * "x"
        words(f"{number} {filling}")
        print(number, file=said, flush=True)
        if number % 3 == 0:
            os.write(2, f"complaint {number} of ".encode())
            time.sleep(0.002)
            os.write(2, b"many\n")
            print(f"complaint {number} of many", file=complained, flush=True)
            until_recorded(b"complaint %d of many" % number)
        until_recorded(b'"text": "%d ' % number)
end("it is done")
(place / "ended").touch()
