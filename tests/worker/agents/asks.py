"""Says some words as they are, without a line end, and waits: ``asks.py <words> [out|err]``."""

import os
import sys
import time

sys.stdin.buffer.read()
print("at work", flush=True)
os.write(2 if sys.argv[2:] == ["err"] else 1, sys.argv[1].encode())
time.sleep(600)
