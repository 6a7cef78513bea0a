"""Takes the place of the claude command line: ``claude_like.py <directory> [--limited <key>]``.

Notes which credential it was given; with one that is limited it fails as the real one does.
"""

import json
import os
import sys
from pathlib import Path

from speech import begin, end, prompt, say, words

prompt()
names = ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY")
given = {name: os.environ[name] for name in names if name in os.environ}
place = Path(sys.argv[1])
task_id = os.environ["AGENT_SWARM_TASK_ID"]
(place / f"{task_id}.json").write_text(json.dumps({"given": given, "argv": sys.argv}))
begin(session_id=f"session-of-{task_id}")
if "--limited" in sys.argv and sys.argv[sys.argv.index("--limited") + 1] in given.values():
    limit = {"status": "rejected", "resetsAt": 4102444800, "rateLimitType": "five_hour"}
    say(type="rate_limit_event", rate_limit_info=limit)
    end("You've hit your session limit · resets 5pm (UTC)", is_error=True, api_error_status=429)
    sys.exit(1)
words("worked")
end("worked")
