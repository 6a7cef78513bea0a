"""Says something every 50 ms, for ever."""

import time

from speech import begin, prompt, words

prompt()
begin()
while True:
    words("tick")
    time.sleep(0.05)
