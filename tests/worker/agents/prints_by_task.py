"""Prints the file that its task names as ``print=<name>``: ``prints_by_task.py <directory>``."""

import re
import sys
from pathlib import Path

name = re.search(rb"print=([\w-]+)", sys.stdin.buffer.read())[1].decode()
sys.stdout.buffer.write(Path(sys.argv[1], name).read_bytes())
