"""Prints a file's bytes and exits: ``prints.py <file> [<exit code>] [<for standard error>]``."""

import sys
from pathlib import Path

sys.stdin.buffer.read()
sys.stdout.buffer.write(Path(sys.argv[1]).read_bytes())
sys.stdout.buffer.flush()
if len(sys.argv) > 3 and sys.argv[3]:
    print(sys.argv[3], file=sys.stderr)
sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
