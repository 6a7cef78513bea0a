"""Fills files in the workspace as its task says: ``fill SOUL.md 700``; keeps its prompt.

``edits_profile.py <directory> [arguments]``
"""

import os
import re
import sys
from pathlib import Path

from speech import begin, end, prompt, words

asked = prompt()
for name, size in re.findall(r"fill (\w+[.]md) (\d+)", asked):
    Path(os.environ["SWARM_WORKSPACE_DIR"], name).write_text("x" * int(size))
Path(sys.argv[1], os.environ["AGENT_SWARM_TASK_ID"] + ".prompt").write_text(asked)
begin()
words("edited")
end("edited")
