"""Says many lines when one file is there, and ends when another is: ``waits_twice.py <a> <b>``."""

import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.01)


prompt()
begin()
words("waiting")
wait_for(sys.argv[1])
for number in range(200):
    words(f"line {number} {'x' * 5000}")
wait_for(sys.argv[2])
words("going on")
end("done at last")
