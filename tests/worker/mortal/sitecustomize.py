"""Kills the process it is loaded into (by way of ``PYTHONPATH``) at one of its system calls.

Counts, from when the file ``MORTAL_FROM`` exists, the calls by which output is read and recorded;
just before number ``MORTAL_AT`` it is over. With ``MORTAL_HALF`` it counts writes only, and is over
in the middle of one.
"""

import itertools
import os
import signal
from pathlib import Path

FROM, AT = Path(os.environ["MORTAL_FROM"]), int(os.environ["MORTAL_AT"])
HALF = bool(os.environ["MORTAL_HALF"])
CALLS = ("write",) if HALF else ("splice", "pread", "pwrite", "write", "ftruncate")
number = itertools.count(1)


def mortal(name):
    immortal = getattr(os, name)

    def call(*args, **more):
        if FROM.exists() and next(number) == AT:
            if HALF:
                immortal(args[0], bytes(args[1])[: len(args[1]) // 2])
            FROM.with_name("died at").write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)
        return immortal(*args, **more)

    return call


for name in CALLS:
    setattr(os, name, mortal(name))
