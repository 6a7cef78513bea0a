"""Speaks plain words, and goes on when a file is there: ``waits_in_words.py <file>``."""

import sys
import time
from pathlib import Path

sys.stdin.buffer.read()
print("waiting", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
print("the result", flush=True)
