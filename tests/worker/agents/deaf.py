"""Begins, and never ends: deaf to SIGINT and SIGTERM, as is a child in a session of its own."""

import os
import signal
import time

from speech import begin, prompt, words

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
prompt()
begin()
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
words("I hear nothing")
time.sleep(600)
