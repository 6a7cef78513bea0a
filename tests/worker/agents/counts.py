"""Says many lines that each name the task they belong to; ``counts.py <lines>``."""

import os
import sys

from speech import begin, end, prompt, words

prompt()
task_id = os.environ["AGENT_SWARM_TASK_ID"]
begin(session_id=f"session-of-{task_id}")
for number in range(int(sys.argv[1])):
    words(f"{task_id} {number}")
end(f"result of {task_id}")
