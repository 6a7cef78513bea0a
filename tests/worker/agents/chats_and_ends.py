"""Says a number of things, uses a tool, and ends: ``chats_and_ends.py <how many> [<pause>]``."""

import sys
import time

from speech import answer, begin, call, end, prompt, words

prompt()
begin()
for number in range(int(sys.argv[1])):
    words(f"word {number}")
    time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
call("t1", "Bash", command="true")
answer("t1", "ok")
end("all said")
