"""Provide the harness fixture of ``acp``: an agent that does what the last line of a prompt says.

It writes each prompt to a file. Its sessions are files, too, so that they can be continued.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

AGENT = """
import json, os, pathlib, queue, subprocess, sys, threading, uuid
folder, lock = pathlib.Path(sys.argv[1]), threading.Lock()
running = {}
def send(**message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
        sys.stdout.flush()
def update(session, **fields):
    send(method="session/update", params={"sessionId": session, "update": fields})
questions = {}
def permitted(session, call):
    question = "q" + call["toolCallId"]
    questions[question] = answer = queue.Queue()
    options = [{"optionId": kind, "name": kind, "kind": kind}
               for kind in ("allow_always", "allow_once", "reject_once")]
    send(id=question, method="session/request_permission",
         params={"sessionId": session, "toolCall": call, "options": options})
    return answer.get().get("optionId", "").startswith("allow")
def turn(number, session, prompt):
    verb, _, rest = prompt.strip().split("\\n")[-1].partition(": ")
    stop = "end_turn"
    if verb in ("work", "mark"):
        words = ["sleep" if verb == "work" else "touch", rest]
        call = {"toolCallId": str(uuid.uuid4()), "title": words[0], "kind": "execute"}
        call["rawInput"] = {"command": " ".join(words)}
        if not permitted(session, call):
            update(session, sessionUpdate="tool_call_update", status="failed", **call)
            words, verb = ["true"], "denied"
        else:
            update(session, sessionUpdate="tool_call", status="in_progress", **call)
        running[session] = child = subprocess.Popen(words)
        stop = "end_turn" if child.wait() == 0 else "cancelled"
        if verb != "denied":
            update(session, sessionUpdate="tool_call_update", status="completed", **call)
    if stop == "end_turn":
        words = rest if verb == "answer" else "done"
        for piece in (words[:5], words[5:]):
            content = {"type": "text", "text": piece}
            update(session, sessionUpdate="agent_message_chunk", content=content)
    send(id=number, result={"stopReason": stop})
for line in sys.stdin.buffer:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if number in questions:
        questions.pop(number).put(message.get("result", {}).get("outcome", {}))
    elif method == "initialize":
        send(id=number, result={"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
    elif method == "session/new":
        session = str(uuid.uuid4())
        (folder / (session + ".session")).touch()
        send(id=number, result={"sessionId": session})
    elif method == "session/load":
        if (folder / (params["sessionId"] + ".session")).exists():
            send(id=number, result={})
        else:
            send(id=number, error={"code": -32002, "message": "Resource not found"})
    elif method == "session/prompt":
        prompt = params["prompt"][0]["text"]
        (folder / (str(uuid.uuid4()) + ".prompt")).write_bytes(prompt.encode())
        what = (number, params["sessionId"], prompt)
        threading.Thread(target=turn, args=what, daemon=True).start()
    elif method == "session/cancel" and params["sessionId"] in running:
        running[params["sessionId"]].terminate()
    elif number is not None:
        send(id=number, error={"code": -32601, "message": "Method not found"})
"""


class AcpFixture:
    """Configures the scripted agent as the target."""

    agent = AGENT

    def __init__(self) -> None:
        self._folder_path = Path()

    @property
    def env(self) -> Mapping[str, str]:
        """The command line of the agent."""
        words = [sys.executable, "-S", "-c", self.agent, str(self._folder_path)]
        return {"ACP_TARGET_COMMAND": shlex.join(words)}

    def answers(self, words: str) -> str:
        """Return a prompt to which the agent answers exactly `words`."""
        return f"answer: {words}"

    def works(self, seconds: float) -> str:
        """Return a prompt to which the agent sleeps for so long in a tool."""
        return f"work: {seconds}"

    def marks(self, name: str) -> str:
        """Return a prompt to which the agent makes a file in a tool."""
        return f"mark: {name}"

    def heard(self) -> Sequence[str]:
        """Return the prompts so far."""
        files = sorted(self._folder_path.glob("*.prompt"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes().decode("utf-8") for path in files]

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-fixture-")
        self._folder_path = Path(self._folder.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._folder.cleanup()
