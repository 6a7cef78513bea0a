"""Says one very long line among short ones: ``shouts.py <MiB>``."""

import sys

from speech import answer, begin, call, end, prompt

prompt()
begin()
call("t1", "Bash", command="cat big", description="Shout")
answer("t1", "A" * (int(sys.argv[1]) << 20))
end("hoarse")
