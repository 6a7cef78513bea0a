"""Begins, and meets the end of its worker: ``drains.py ends|deaf|holds|prints <file>``.

ends    says its last word when the file is there
deaf    hears no signal, and neither does its child, which left the session
holds   as ends, and a child that hears no signal still holds its output
prints  says something every 10 ms and hears no SIGINT
"""

import os
import signal
import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words

kind, go_on = sys.argv[1], Path(sys.argv[2])
prompt()
if kind in {"deaf", "holds"}:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    if kind == "holds":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
if kind == "prints":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
begin()
words("at work")
while kind in {"deaf", "prints"} or not go_on.exists():
    if kind == "prints":
        words("still at work")
    time.sleep(0.01)
end("done at last")
