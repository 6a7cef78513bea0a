"""Says which task it is, waits for its siblings, says more: ``meets.py <directory> <how many>``."""

import os
import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words

task_id = os.environ["AGENT_SWARM_TASK_ID"]
place = Path(sys.argv[1])
asked = prompt()
begin(session_id=f"session-of-{task_id}")
(place / task_id).touch()
give_up_at = time.monotonic() + 10
while len(list(place.iterdir())) < int(sys.argv[2]) and time.monotonic() < give_up_at:
    time.sleep(0.005)
for number in range(100):
    words(f"{task_id} {number}")
met = len(list(place.iterdir()))
end(f"{task_id} met {met}, asked {'task-text' in asked}")
