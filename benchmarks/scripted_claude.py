"""Imitate Claude Code: ``scripted_claude.py <stream> [options]`` prints a prepared stream.

Its ``--version`` is one that accepts messages. It waits for the prompt, prints the file as fast as
it is read, and exits at the end of its standard input.
"""

from __future__ import annotations

import os
import sys

BLOCK_BYTES = 1 << 16


def main() -> None:
    """Print."""
    if "--version" in sys.argv:
        print("2.1.329 (Claude Code)")
        return
    sys.stdin.buffer.readline()
    source = os.open(sys.argv[1], os.O_RDONLY)
    while block := os.read(source, BLOCK_BYTES):
        while block:
            block = block[os.write(1, block) :]
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
