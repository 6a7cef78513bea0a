"""Writes down all it was given, as ``<directory>/<task id>.json``, and says so."""

import json
import os
import sys
from pathlib import Path

from speech import begin, end, prompt, words

asked = prompt()
system_file = Path(os.environ["SWARM_SYSTEM_PROMPT_FILE"])
mcp_file = Path(os.environ["SWARM_MCP_CONFIG"])
given = {
    "prompt": asked,
    "system": system_file.read_text(),
    "mcp": json.loads(mcp_file.read_text()),
    "env": dict(os.environ),
    "cwd": str(Path.cwd()),
    "argv": sys.argv,
    "files": sorted(path.name for path in Path.cwd().iterdir()),
    "modes": {
        str(path): oct(path.stat().st_mode & 0o777)
        for path in (system_file, mcp_file, system_file.parent)
    },
}
task_id = os.environ["AGENT_SWARM_TASK_ID"]
Path(sys.argv[1], f"{task_id}.json").write_text(json.dumps(given))
begin(session_id=f"session-of-{task_id}")
words("I saw it all")
end("seen")
