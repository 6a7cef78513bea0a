"""MCP servers over standard input and output, well-behaved and misbehaving.

Started by the tests as ``python stdio_servers.py <manner> [argument]``; nothing but the standard
library, so that they start fast.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MANNER = sys.argv[1]
ARGUMENT = sys.argv[2] if len(sys.argv) > 2 else ""
OBJECT = {"type": "object"}


def answer(request: dict[str, Any], **what: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **what}), flush=True)


def tool(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "description": f"it does {name}", "inputSchema": {**OBJECT, **schema}}


def listed() -> dict[str, Any]:
    match MANNER:
        case "lists":
            return {"tools": json.loads(ARGUMENT)}
        case "odd-schemas":
            return {
                "tools": [
                    tool("good", properties={"a": {"type": "string"}}, required=["a"]),
                    tool("union", anyOf=[{"required": ["a"]}], properties={"a": {}}),
                    tool("not-a-type", properties={"a": {"type": "strnig"}}),
                    tool("odd member", properties={"a b$": {}}),
                    tool("huge", properties={"a": {"enum": ["x" * 50_000]}}),
                ]
            }
        case "endless-list":
            return {"tools": [tool("one")], "nextCursor": f"{time.monotonic()}"}
        case "circling-list":
            return {"tools": [tool("one")], "nextCursor": "again"}
        case "many":
            return {"tools": [tool(f"t{n}") for n in range(1000)]}
    return {"tools": [tool("echo"), tool("env")]}


def call(request: dict[str, Any]) -> None:
    name, args = request["params"]["name"], request["params"].get("arguments") or {}
    if MANNER == "dies":
        print("last words of the server", file=sys.stderr, flush=True)
        os._exit(3)
    if MANNER == "silent-call":
        time.sleep(3600)
    if MANNER in {"slow-and-noisy", "late-and-noisy"}:
        print("working", flush=True)
        while ARGUMENT and not Path(ARGUMENT).exists():
            time.sleep(0.01)
        time.sleep(1)
        answer(request, result={"content": [{"type": "text", "text": "at last"}]})
    elif MANNER == "halves":
        begun, _, rest = ARGUMENT.replace("ID", str(request["id"])).partition("|")
        print(begun, end="", flush=True)
        time.sleep(1)
        print(rest, flush=True)
    elif MANNER == "says":
        print(ARGUMENT.replace("ID", str(request["id"])), end="", flush=True)
    elif MANNER == "not-as-promised":
        answer(request, result={"content": [{"type": "text", "text": "still useful"}]})
    elif MANNER == "rpc-error":
        answer(request, error={"code": -32603, "message": "it broke"})
    elif name == "env":
        text = json.dumps({"env": dict(os.environ), "cwd": os.path.realpath(".")})
        answer(request, result={"content": [{"type": "text", "text": text}]})
    else:
        content = args.get("content") or [{"type": "text", "text": json.dumps(args)}]
        answer(request, result={"content": content, "isError": bool(args.get("fail"))})


def main() -> None:
    if MANNER == "grandchild":
        # Leaves the group and the session, and holds the pipes.
        subprocess.Popen(["sleep", "300"], start_new_session=True)
    if MANNER == "never":
        time.sleep(3600)
    if MANNER == "slow-and-noisy":
        print("ready", flush=True)
    if MANNER == "garbage":
        print("Welcome to the server!\n{\n[]\n\x00", flush=True)
    if MANNER == "exits":
        print("cannot find its key", file=sys.stderr, flush=True)
        sys.exit(7)
    for line in sys.stdin:
        request = json.loads(line)
        match request.get("method"):
            case "initialize":
                answer(
                    request,
                    result={
                        "protocolVersion": "2025-03-26",
                        "capabilities": {"tools": {}},
                        "serverInfo": {"name": "s", "version": "1"},
                    },
                )
            case "tools/list":
                answer(request, result=listed())
                if MANNER == "idle-exit":
                    sys.exit(0)
            case "tools/call":
                call(request)
    if MANNER == "stays":
        time.sleep(3600)


if __name__ == "__main__":
    main()
