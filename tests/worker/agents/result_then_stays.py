"""Says its last word, and does not go."""

import time

from speech import begin, end, prompt, words

prompt()
begin()
words("done")
end("all done")
time.sleep(600)
