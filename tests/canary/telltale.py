"""An agent that prints all secrets it can find: ``telltale.py <harness> <directory> …``.

It speaks as a plain subprocess, as Claude Code or as the codex app server. It knows the secrets of
``known.json``, and those in its environment and its files; what it was given it notes in
``given-<harness>.json``. It says it all twice: at once, and after ``go`` is there.
"""

import base64
import html
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

HARNESS, PLACE, ARGS = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]


def forms(secret):
    raw = secret.encode("utf-8", "surrogateescape")
    shown = secret.encode("utf-8", "replace").decode()
    return [
        shown,
        json.dumps(shown),
        json.dumps(json.dumps(shown)),
        json.dumps(json.dumps(json.dumps(shown))),
        "".join(f"\\u{ord(c):04x}" for c in shown if ord(c) < 0x10000),
        repr(shown),
        base64.b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw + b"!").decode(),
        base64.urlsafe_b64encode(b"u" + raw).decode(),
        raw.hex(),
        raw.hex().upper(),
        quote(raw, safe=""),
        html.escape(shown),
        f"https://bot:{quote(raw, safe='')}@code.example.org/a.git",
    ]


def secrets():
    return json.loads((PLACE / "known.json").read_text())


def note():
    private = [Path(value) for value in os.environ.values() if "/sessions/" in value]
    private += [Path(word) for word in sys.argv if "/sessions/" in word]
    texts = [path.read_text() for path in private if path.is_file()]
    texts += [(path / "config.toml").read_text() for path in private if path.is_dir()]
    given = {"env": dict(os.environ), "argv": sys.argv, "files": texts}
    (PLACE / f"given-{HARNESS}.json").write_text(json.dumps(given))


def go():
    (PLACE / "waiting").touch()
    while not (PLACE / "go").exists():
        time.sleep(0.02)


def say(**event):
    print(json.dumps(event), flush=True)


def stderr(secret):
    told = " ".join(forms(secret))
    for half in (f"standard error: {secret}"[:-4], secret[-4:] + f"\n{told}\n"):
        sys.stderr.buffer.write(half.encode("utf-8", "surrogateescape"))
        sys.stderr.flush()
        time.sleep(0.002)


def stdout(secret):
    """A line in two writes, cut in the middle of the secret."""
    raw = json.dumps({"type": "system", "subtype": "x", "k": secret}).encode()
    middle = raw.find(secret[:3].encode("ascii", "replace")) + 3
    for half in (raw[:middle], raw[middle:] + b"\n"):
        sys.stdout.buffer.write(half)
        sys.stdout.flush()
        time.sleep(0.002)


def claude_tells(number, secret):
    told = " ".join(forms(secret))
    stderr(secret)
    stdout(secret)
    say(
        type="system", subtype="init", session_id=f"s-{secret}", model=f"m-{secret}", tools=[secret]
    )
    usage = {"input_tokens": 1, "output_tokens": 1}
    content = [
        {"type": "thinking", "thinking": told},
        {"type": "text", "text": told},
        {"type": "tool_use", "id": f"t{number}", "name": f"Tool {secret}", "input": {secret: told}},
        {"type": "tool_use", "id": f"u{number}", "name": "Bash", "input": {"command": told}},
        {
            "type": "tool_use",
            "id": f"v{number}",
            "name": "Edit",
            "input": {"file_path": f"/{secret}"},
        },
    ]
    message = {"role": "assistant", "model": f"m-{secret}", "content": content, "usage": usage}
    say(type="assistant", session_id=f"s-{secret}", parent_tool_use_id=None, message=message)
    for prefix in "tuv":
        result = {"type": "tool_result", "tool_use_id": f"{prefix}{number}", "content": told}
        say(type="user", message={"role": "user", "content": [result]})
    print(f"plain words: {told}", flush=True)


def claude(talks):
    prompt = sys.stdin.readline() if talks else sys.stdin.read()
    note()
    for turn in range(2):
        for number, secret in enumerate(secrets()):
            claude_tells(f"{turn}-{number}", secret)
        claude_tells(f"{turn}-prompt", prompt[:200] or "nothing")
        if turn == 0:
            go()
    everything = "\n".join(" ".join(forms(secret)) for secret in secrets())
    say(
        type="result",
        subtype="success",
        is_error="fails" in ARGS,
        result=everything,
        session_id="s-1",
        duration_ms=1,
        num_turns=1,
        total_cost_usd=0.1,
        modelUsage={f"m-{secret}": {"inputTokens": 1, "outputTokens": 1} for secret in secrets()},
    )
    if "fails" in ARGS:
        sys.stderr.write(everything)
        sys.exit(9)


def codex_tells(number, secret):
    told = " ".join(forms(secret))
    stderr(secret)
    for kind, more in (
        ("commandExecution", {"command": told, "aggregatedOutput": told, "exitCode": 1}),
        ("mcpToolCall", {"server": secret, "tool": f"tool {secret}", "arguments": {secret: told}}),
        ("fileChange", {"changes": [{"path": f"/{secret}", "kind": {"type": "add"}}]}),
        ("agentMessage", {"text": told}),
        ("reasoning", {"summary": [told]}),
        ("error", {"message": told}),
    ):
        item = {"type": kind, "id": f"{kind}-{number}", **more}
        for method in ("item/started", "item/completed"):
            say(method=method, params={"threadId": "thread", "item": item})
    print(f"no JSON: {told}", flush=True)


def codex():
    for text in sys.stdin:
        line = json.loads(text)
        method, number = line.get("method"), line.get("id")
        if method == "initialize":
            note()
            say(id=number, result={})
        elif method == "thread/start":
            say(id=number, result={"thread": {"id": "thread"}, "model": f"m-{secrets()[0]}"})
        elif method == "turn/start":
            say(id=number, result={"turn": {"id": "t"}})
            for turn in range(2):
                for count, secret in enumerate(secrets()):
                    codex_tells(f"{turn}-{count}", secret)
                if turn == 0:
                    go()
            turn = {"id": "t", "status": "completed"}
            say(method="turn/completed", params={"threadId": "thread", "turn": turn})


if "--version" in ARGS:
    print("2.1.300 (Claude Code)")
elif "--help" in ARGS:
    print("Usage: codex app-server [OPTIONS]")
elif HARNESS == "codex":
    codex()
else:
    claude(talks="--input-format" in ARGS)
