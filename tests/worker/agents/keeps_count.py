"""Says lines of all sizes on both streams, and notes which it got rid of: ``keeps_count.py PLACE``.

The notes are ``said`` and ``complained`` in PLACE; it begins when ``go`` is there.
"""

import os
import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words

LONG, LONGER = 30_000, 300_000

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
        time.sleep(0.002)
end("it is done")
(place / "ended").touch()
