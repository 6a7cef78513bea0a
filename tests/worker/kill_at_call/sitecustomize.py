"""Kills the process that imports it (through ``PYTHONPATH``) at one of its system calls.

Counts calls from when the file ``MORTAL_FROM`` exists; just before number ``MORTAL_AT`` it is over.
``MORTAL_CALLS`` says which count: ``output``, those by which output is read and recorded; ``half``,
writes only, and it is over in the middle of one; ``life``, those that change the output's record or
the database, and what goes to the API and comes from there.
"""

import itertools
import os
import signal
import socket
import sqlite3
from pathlib import Path

FROM, AT = Path(os.environ["MORTAL_FROM"]), int(os.environ["MORTAL_AT"])
WHICH = os.environ["MORTAL_CALLS"]
OUTPUT = {
    "output": ("splice", "pread", "pwrite", "write", "ftruncate"),
    "half": ("write",),
    "life": ("splice", "pwrite", "write"),
}
number = itertools.count(1)


def killed_at_call(immortal):
    def call(*args, **more):
        if FROM.exists() and next(number) == AT:
            if WHICH == "half":
                immortal(args[0], bytes(args[1])[: len(args[1]) // 2])
            FROM.with_name("died at").write_text(immortal.__name__)
            os.kill(os.getpid(), signal.SIGKILL)
        return immortal(*args, **more)

    return call


class Connection(sqlite3.Connection):
    execute = killed_at_call(sqlite3.Connection.execute)
    executemany = killed_at_call(sqlite3.Connection.executemany)
    commit = killed_at_call(sqlite3.Connection.commit)


for name in OUTPUT[WHICH]:
    setattr(os, name, killed_at_call(getattr(os, name)))
if WHICH == "life":
    socket.socket.send = killed_at_call(socket.socket.send)
    socket.socket.recv = killed_at_call(socket.socket.recv)
    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **more: connect(*args, **more, factory=Connection)
