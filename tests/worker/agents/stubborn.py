"""Ignores every polite signal, and so does its grandchild, which left with our pipes."""

import os
import signal
import time

from speech import begin, words

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
begin()
words("try me")
time.sleep(600)
