"""Ends its own task through the API, as its tools do, and then says something else."""

import json
import os
from urllib.request import Request, urlopen

from speech import begin, end, prompt

prompt()
begin()
url = f"{os.environ['MCP_BASE_URL']}/api/tasks/{os.environ['AGENT_SWARM_TASK_ID']}/finish"
headers = {
    "Authorization": f"Bearer {os.environ['API_KEY']}",
    "X-Agent-ID": os.environ["AGENT_ID"],
    "Content-Type": "application/json",
}
body = json.dumps({"status": "completed", "output": "my own words"}).encode()
with urlopen(Request(url, body, headers)) as answered:
    answered.read()
end("what the harness says")
