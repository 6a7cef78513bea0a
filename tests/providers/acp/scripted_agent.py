"""An ACP agent of its own process that does what its script says: ``scripted_agent.py SCRIPT LOG``.

SCRIPT is a JSON object; each key is one way to be odd. What the agent is sent goes into LOG.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SCRIPT: dict[str, Any] = json.loads(sys.argv[1])
LOG = Path(sys.argv[2])
LOCK = threading.Lock()
CANCELLED = threading.Event()
ANSWERS: dict[str, Any] = {}
ANSWERED = threading.Condition()
OPTIONS = [
    {"optionId": "no", "kind": "reject_once", "name": "No"},
    {"optionId": "always", "kind": "allow_always", "name": "Always"},
    {"optionId": "once", "kind": "allow_once", "name": "Yes"},
    {"optionId": "once-2", "kind": "allow_once", "name": "Yes, and another mode"},
]


def raw(data: bytes) -> None:
    with LOCK:
        os.write(1, data)


def send(**message: Any) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode() + b"\n"
    if SCRIPT.get("halves"):
        for begin in range(0, len(line), 7):
            raw(line[begin : begin + 7])
            time.sleep(0.001)
        return
    with LOCK:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def note(**facts: Any) -> None:
    with LOG.open("a") as file:
        file.write(json.dumps(facts) + "\n")


def update(session: str = "s-1", **fields: Any) -> None:
    send(method="session/update", params={"sessionId": session, "update": fields})


def say(text: str, **more: Any) -> None:
    content = {"type": "text", "text": text}
    update(sessionUpdate="agent_message_chunk", content=content, **more)


def ask(method: str, params: Any, request_id: Any = None) -> Any:
    """Ask the client and wait for its answer."""
    request_id = request_id or f"ask-{method}"
    send(id=request_id, method=method, params=params)
    with ANSWERED:
        assert ANSWERED.wait_for(lambda: str(request_id) in ANSWERS, 20), method
    answer = ANSWERS.pop(str(request_id))
    note(asked=method, got=answer.get("result"), error=answer.get("error"))
    return answer


def noise() -> None:
    sys.stdout.flush()
    raw(b'starting up...\nnull\n[1]\n42\n"text"\n[]\n\xff\xfe\n{"half": \n\n')
    raw(b'{"jsonrpc": "2.0", "id": 999, "result": {}}\n')
    raw(b'{"jsonrpc": "2.0", "id": null, "method": 7}\n')
    raw(b'{"jsonrpc": "2.0", "method": "_vendor/notify", "params": [1]}\n')
    raw(b'{"jsonrpc": "2.0", "method": "session/update", "params": "nothing"}\n')
    raw(b'{"method": "session/update", "params": {"update": {"sessionUpdate": 3}}}\n')
    update(sessionUpdate="new_kind_of_update", anything={"a": 1})
    update(sessionUpdate="tool_call", toolCallId=7, title=["x"])
    update(sessionUpdate="plan", entries="none")
    update(sessionUpdate="usage_update", used="many", size=-1, cost=[])


def do_prompt(number: Any, prompt: str) -> None:
    for step in SCRIPT.get("prompt", [["say", "Done."]]):
        do(step, prompt)
    if SCRIPT.get("prompt_error"):
        send(id=number, error=SCRIPT["prompt_error"])
    elif not SCRIPT.get("no_answer"):
        stop = "cancelled" if CANCELLED.is_set() else "end_turn"
        send(id=number, result={"stopReason": stop, **SCRIPT.get("result", {})})
    for step in SCRIPT.get("after", []):
        do(step, prompt)


def do(step: list[Any], prompt: str) -> None:
    match step:
        case ["say", text]:
            say(text)
        case ["pieces", text]:
            for begin in range(0, len(text), 3):
                say(text[begin : begin + 3])
        case ["big", size]:
            update(sessionUpdate="available_commands_update", padding="y" * size)
            say("z" * size)
        case ["think", text]:
            content = {"type": "text", "text": text}
            update(sessionUpdate="agent_thought_chunk", content=content)
        case ["update", fields]:
            update(**fields)
        case ["other-session", fields]:
            update("s-2", **fields)
        case ["ask", method, params]:
            ask(method, params)
        case ["ask-many", method, params, times]:
            for number in range(times):
                send(id=f"many-{number}", method=method, params=params)
        case ["many-answers", times]:
            with ANSWERED:
                names = [f"many-{number}" for number in range(times)]
                assert ANSWERED.wait_for(lambda: all(name in ANSWERS for name in names), 50)
            answers = [ANSWERS.pop(name) for name in names]
            note(done=sum("result" in one for one in answers))
        case ["permission", call]:
            ask(
                "session/request_permission",
                {"toolCall": call, "options": OPTIONS},
            )
        case ["send", message]:
            send(**message)
        case ["noise"]:
            noise()
        case ["flood", count]:
            line = json.dumps({"method": "_vendor/flood", "params": {"x": "y" * 100}}) + "\n"
            for _ in range(count // 100):
                raw(line.encode() * 100)
        case ["wait", seconds]:
            CANCELLED.wait(seconds)
        case ["mute"]:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        case ["deaf", seconds]:
            time.sleep(seconds)
        case ["command", words]:
            subprocess.Popen(words, start_new_session=True)
        case ["terminal", params]:
            terminal(params)
        case ["die", code]:
            sys.stderr.write("the engine is out of oil\n")
            sys.stderr.flush()
            os._exit(code)
        case ["echo"]:
            say(f"heard: {prompt}")
        case _:
            raise AssertionError(step)


def terminal(params: dict[str, Any]) -> None:
    made = ask("terminal/create", {"sessionId": "s-1", **params})
    if "result" not in made:
        return
    where = {"sessionId": "s-1", "terminalId": made["result"]["terminalId"]}
    if params.get("kill"):
        ask("terminal/kill", where)
    ask("terminal/wait_for_exit", where)
    ask("terminal/output", where)
    ask("terminal/release", where)


def handle(message: dict[str, Any]) -> None:
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if method is None:
        with ANSWERED:
            ANSWERS[str(number)] = message
            ANSWERED.notify_all()
        return
    note(method=method, params=params)
    answered = str(number) if SCRIPT.get("string_ids") else number
    steps = SCRIPT.get("before", {}).get(method, [])
    for step in steps:
        do(step, "")
    if method in SCRIPT.get("silent", []):
        return
    if method in SCRIPT.get("errors", {}):
        send(id=answered, error=SCRIPT["errors"][method])
    elif method in SCRIPT.get("results", {}):
        send(id=answered, result=SCRIPT["results"][method])
    elif method == "initialize":
        capabilities = SCRIPT.get("capabilities", {"loadSession": True})
        send(
            id=answered,
            result={
                "protocolVersion": 1,
                "agentCapabilities": capabilities,
                "agentInfo": {"name": "scripted", "version": "1.2"},
                "authMethods": [{"id": "login", "name": "Log in"}],
                **SCRIPT.get("initialize", {}),
            },
        )
    elif method in ("session/new", "session/fork"):
        send(id=answered, result={"sessionId": "s-1", **SCRIPT.get("offers", {})})
    elif method == "session/cancel":
        if not SCRIPT.get("ignores_cancel"):
            CANCELLED.set()
    elif method == "session/prompt":
        prompt = params["prompt"][0]["text"]
        threading.Thread(target=do_prompt, args=(answered, prompt), daemon=True).start()
    elif method.startswith("session/set_") or method in ("session/load", "session/resume"):
        send(id=answered, result=SCRIPT.get("offers", {}) if "load" in method else {})
    elif number is not None:
        send(id=answered, error={"code": -32601, "message": "Method not found"})


def main() -> None:
    note(env=dict(os.environ), argv=sys.argv[3:])
    for step in SCRIPT.get("first", []):
        do(step, "")
    for line in sys.stdin.buffer:
        handle(json.loads(line))
    note(end="input")
    time.sleep(SCRIPT.get("stays", 0))


if __name__ == "__main__":
    main()
