"""Starts helpers that each read the same file once: ``helpers.py <helpers> [stuck | lost stays]``.

Meanwhile one helper (lost), or the main agent between calls of a helper (stuck), repeats one call.
"""

import sys
import time

from speech import answer, begin, call, end, prompt, speaks_as

prompt()
begin()
count = int(sys.argv[1])
for number in range(count):
    call(f"task{number}", "Task", description=f"review {number}", prompt="Look")
for number in range(count):
    with speaks_as(f"task{number}"):
        call(f"read{number}", "Read", file_path="/repo/a.py")
        answer(f"read{number}", "text")
for number in range(20 if len(sys.argv) > 2 else 0):
    with speaks_as("task1" if "lost" in sys.argv else None):
        call(f"again{number}", "Bash", command="cat missing")
        answer(f"again{number}", "no such file")
    with speaks_as("task2"):
        call(f"other{number}", "Grep", pattern=f"x{number}")
        answer(f"other{number}", f"found {number}")
if "stays" in sys.argv:
    time.sleep(600)
end("reviewed")
