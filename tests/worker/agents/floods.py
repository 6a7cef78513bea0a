"""Floods standard error: ``floods.py <MiB>``."""

import sys

from speech import begin, end, prompt, words

prompt()
begin()
line = b"warning: " + b"x" * 1014 + b"\n"
for _ in range(int(sys.argv[1])):
    sys.stderr.buffer.write(line * 1024)
words("that was a lot")
end("flooded")
