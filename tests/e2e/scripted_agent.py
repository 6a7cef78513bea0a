"""A coding agent without a model: does what the tags of `model_script` in its prompt say.

It takes the place of a real CLI where there is none: its shell and its calls of the swarm's tools
are real, over the very configuration the worker gives a harness. Speaks claude's stream-json.
Needs nothing but the standard library.
"""

import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "worker" / "agents")]

from model_script import Answer, Conversation, Failure, next_step  # noqa: E402
from speech import answer, begin, call, end, prompt, words  # noqa: E402


class ToolServer:
    """One HTTP entry of the MCP configuration, as a client of the older protocol sees it."""

    def __init__(self, entry):
        self.url = entry["url"]
        self.headers = {
            **entry["headers"],
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        self.ids = itertools.count(1)
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "scripted-agent", "version": "1"},
        }
        self.ask("initialize", hello)
        self.ask("notifications/initialized")

    def ask(self, method, params=None):
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if not method.startswith("notifications/"):
            message["id"] = next(self.ids)
        with urlopen(Request(self.url, json.dumps(message).encode(), self.headers)) as reply:
            if session := reply.headers.get("Mcp-Session-Id"):
                self.headers["Mcp-Session-Id"] = session
            text = reply.read().decode()
        events = [line[5:] for line in text.splitlines() if line.startswith("data:")]
        answers = [json.loads(event) for event in events or [text] if event.strip()]
        return answers[-1] if answers else None

    def use(self, tool, arguments):
        """Return what the tool said, and whether that is an error."""
        reply = self.ask("tools/call", {"name": tool, "arguments": arguments})
        if "error" in reply:
            return json.dumps(reply["error"]), True
        result = reply["result"]
        said = "\n".join(part.get("text", "") for part in result["content"])
        return said, bool(result.get("isError"))


def use_tool(name, arguments):
    """Run one tool call of the script."""
    if name == "Bash":
        shell = ["/bin/sh", "-c", arguments["command"]]
        done = subprocess.run(shell, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr
    _, server, tool = name.split("__", 2)
    entries = json.loads(Path(os.environ["SWARM_MCP_CONFIG"]).read_text())["mcpServers"]
    try:
        return ToolServer(entries[server]).use(tool, arguments)[0]
    except HTTPError as error:
        return f"{error}: {error.read().decode()}"


def main():
    asked = prompt()
    begin(session_id=str(uuid.uuid4()))
    calls = ()
    while True:
        step = next_step(Conversation(asked, calls, frozenset()), 0)
        if isinstance(step, Failure):
            end(step.message, is_error=True, api_error_status=step.status)
            sys.exit(1)
        if not isinstance(step, Answer):
            time.sleep(600)
        if step.tool is None:
            words(step.text)
            end(step.text)
            return
        call_id = f"call-{len(calls)}"
        call(call_id, step.tool.name, **step.tool.arguments)
        answer(call_id, use_tool(step.tool.name, step.tool.arguments))
        calls = (*calls, step.tool.name)


main()
