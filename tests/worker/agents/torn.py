"""Says half a line, and the rest only when nobody reads any more: ``torn.py GO FIRST SECOND``."""

import fcntl
import os
import struct
import sys
import termios
import time
from pathlib import Path

from speech import begin, prompt, words

prompt()
begin()
words("word 0")
go, first, second = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
os.write(1, f'{{"type":"assistant","message":{{"content":"it is {first}'.encode())
while struct.unpack("i", fcntl.ioctl(1, termios.FIONREAD, b"\0" * 4))[0]:
    time.sleep(0.01)
go.with_name("half").touch()
while not go.exists():
    time.sleep(0.01)
os.write(1, f'{second}"}}}}\n'.encode())
words("word 1")
go.with_name(go.name + ".gone").touch()
time.sleep(600)
