"""Begins, says a number of things and waits: ``chats.py <how many>``."""

import sys
import time

from speech import begin, prompt, words

prompt()
begin()
for number in range(int(sys.argv[1])):
    words(f"word {number}")
time.sleep(600)
