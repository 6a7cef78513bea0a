"""Begins, and goes on when a file is there: ``waits.py <file> [<result>]``."""

import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words

prompt()
begin()
words("waiting")
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
words("going on")
end(sys.argv[2] if len(sys.argv) > 2 else "done at last")
