"""Prints a file and then does not go: ``stays.py <file>``."""

import sys
import time
from pathlib import Path

sys.stdout.buffer.write(Path(sys.argv[1]).read_bytes())
sys.stdout.buffer.flush()
time.sleep(600)
