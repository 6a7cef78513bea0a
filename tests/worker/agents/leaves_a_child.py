"""Answers and goes, and leaves a process of its own session behind that holds our pipes."""

import os
import time

from speech import begin, end, prompt, words

prompt()
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
begin()
words("bye")
end("gone home")
