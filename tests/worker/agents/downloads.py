"""Runs the commands its prompt offers and counts what they fetched: ``downloads.py <dir>``."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from speech import begin, end, prompt, words

asked = prompt()
begin()
private = Path(os.environ["SWARM_SYSTEM_PROMPT_FILE"]).parent
before = set(private.iterdir())
for command in re.findall(r"`(mkdir .*)`", asked):
    subprocess.run(command, shell=True, check=True)
fetched = sorted(set(private.iterdir()) - before)
found = {
    "names": [path.name for path in fetched],
    "contents": [path.read_text() for path in fetched],
    "beside": [path.name for path in Path.cwd().iterdir()],
}
Path(sys.argv[1], f"{os.environ['AGENT_SWARM_TASK_ID']}.json").write_text(json.dumps(found))
words("fetched")
end(f"{len(fetched)} files")
