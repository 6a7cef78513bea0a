"""Measures what it was given, for any harness: ``measures.py <directory> [arguments]``."""

import json
import os
import sys
from pathlib import Path

from speech import begin, end, prompt, words

asked = prompt()
flag = "--append-system-prompt-file"
named = sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv else ""
system = Path(named or os.environ["SWARM_SYSTEM_PROMPT_FILE"]).read_text()
given = {
    "prompt": asked,
    "system": system,
    "longest_argument": max(len(word.encode()) for word in sys.argv),
}
Path(sys.argv[1], os.environ["AGENT_SWARM_TASK_ID"] + ".json").write_text(json.dumps(given))
begin()
words("measured")
end("measured")
