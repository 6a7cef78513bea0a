"""Continues a session, unless that is lost: ``resumes.py <directory> <session>``."""

import json
import sys
from pathlib import Path

asked = sys.stdin.buffer.read().decode()
place, session = Path(sys.argv[1]), sys.argv[2]
count = len(list(place.glob("asked-*")))
(place / f"asked-{count}").write_text(f"{session or 'fresh'}\n{asked}")
if session and (place / "lost").exists():
    said = {"type": "result", "isError": True, "errorCategory": "stale_session", "output": "who?"}
    print(json.dumps({"type": "message", "role": "assistant", "content": "looking for it"}))
    print(json.dumps(said))
    sys.exit(1)
print(json.dumps({"type": "session_init", "sessionId": session or f"session-{count}"}))
print(json.dumps({"type": "result", "output": f"{session or 'fresh'} went well"}))
