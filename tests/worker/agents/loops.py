"""Makes the same call again and again: ``loops.py <times> [news] [slowly] [stays]``.

With news, answers differ; it may stay when it is done, until somebody ends it.
"""

import sys
import time

from speech import answer, begin, call, end, prompt

prompt()
begin()
for number in range(int(sys.argv[1])):
    time.sleep(0.05 if "slowly" in sys.argv else 0)
    call(f"t{number}", "Bash", command="make", description="Look again")
    answer(f"t{number}", f"news {number}" if "news" in sys.argv else "the same")
if "stays" in sys.argv:
    time.sleep(600)
end("went round")
