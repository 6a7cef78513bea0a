"""Says "word 0", waits for a file, says more and ends: ``goes_on.py FILE HOW_MANY [SECRET]``."""

import sys
import time
from os import environ
from pathlib import Path

from speech import answer, begin, call, end, prompt, words

prompt()
begin()
call("t1", "Bash", command="true", description="Do nothing")
answer("t1", "done")
words("word 0")
go = Path(sys.argv[1])
while not go.exists():
    time.sleep(0.01)
for number in range(1, int(sys.argv[2])):
    words(f"word {number}")
print("a complaint", file=sys.stderr, flush=True)
for secret in sys.argv[3:]:
    words(f"the password is {environ[secret]}")
end("it is done")
go.with_name(go.name + ".gone").touch()
