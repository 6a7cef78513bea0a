"""Destroys what it was given: its private files, and the directory it works in."""

import os
import shutil
from pathlib import Path

from speech import begin, end, prompt, words

prompt()
begin()
mcp = Path(os.environ["SWARM_MCP_CONFIG"])
mcp.unlink()
mcp.mkdir()
(mcp / "in the way").touch()
shutil.rmtree(Path.cwd())
words("gone")
end("all gone")
