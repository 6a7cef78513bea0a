"""Record what the real Claude Code prints, for the tests of its translator.

    python tests/e2e/record_streams.py [NAME…]

Run it after the pinned version changed, then look at what changed in the recordings. Paths, ids
and long lists that mean nothing to the translator are replaced or cut.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anyio
from loopback import serving
from real_claude import PROGRAM, hermetic_env
from scripted_model import ScriptedModel
from swarm_tools import SwarmTools

STREAMS = Path(__file__).parent.parent / "providers/claude/streams"
SESSION = "11111111-1111-4111-8111-111111111111"
OAUTH = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-scripted", "ANTHROPIC_API_KEY": ""}
SUBAGENT = (
    json.dumps(
        {
            "description": "look around",
            "prompt": "[[bash:echo inside]] [[say:Report of the subagent.]]",
            "subagent_type": "general-purpose",
            "run_in_background": False,
        }
    )
    .replace("[[", "\\u005b\\u005b")
    .replace("]]", "\\u005d\\u005d")
)
BACKGROUND = json.dumps({"command": "sleep 2", "description": "wait", "run_in_background": True})
WAKEUP = json.dumps({"delaySeconds": 60, "reason": "to look again", "prompt": "look"})
LONG_TOOL = "[[bash:python3 -c 'import time; time.sleep(30)']]"
STORE = "mcp__agent-swarm__store-progress"


@dataclass(frozen=True)
class Scenario:
    prompt: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    before: str = ""
    """A prompt run first; the recorded run resumes its session."""
    stop_at: str = ""
    """Send `stop_with` when this stands in a line."""
    stop_with: signal.Signals = signal.SIGINT


SCENARIOS = {
    "hello": Scenario("[[say:Hello from the model.]]"),
    "bash": Scenario("[[bash:echo hi]] [[say:It said hi.]]"),
    "bash_fails": Scenario("[[bash:exit 3]] [[say:It failed.]]"),
    "swarm_tool": Scenario(f'[[tool:{STORE} {{"progress":"half"}}]] [[say:Stored.]]'),
    "subagent": Scenario(f"[[tool:Agent {SUBAGENT}]] [[say:The subagent reported.]]"),
    "background": Scenario(f"[[tool:Bash {BACKGROUND}]] [[say:Waited.]]"),
    "wakeup": Scenario(f"[[tool:ScheduleWakeup {WAKEUP}]] [[say:Looked.]]"),
    "resumed": Scenario("[[bash:echo hi]] [[say:Again.]]", before="[[say:Before.]]"),
    "resume_unknown": Scenario("hello", args=("--resume", SESSION)),
    "local_command": Scenario("/help"),
    "local_compact": Scenario("/compact please fix it", before="[[say:Before.]]"),
    "not_logged_in": Scenario("hello", env=(("ANTHROPIC_API_KEY", ""),)),
    "retried_429": Scenario("[[fail:429 x1]] [[say:Made it.]]"),
    "error_401": Scenario("[[fail:401 invalid x-api-key]]"),
    "error_429": Scenario("[[fail:429 Please retry after 120 seconds]]"),
    "error_500": Scenario("[[fail:500]]"),
    "error_529": Scenario("[[fail:529 Overloaded]]"),
    "error_credit": Scenario("[[fail:400 Your credit balance is too low to use this.]]"),
    "error_too_long": Scenario("[[fail:400 prompt is too long: 210000 tokens > 200000 maximum]]"),
    "subscription_limit": Scenario("[[limit:1795298400]]", env=tuple(OAUTH.items())),
    "max_turns": Scenario("[[bash:true]] [[bash:true]]", args=("--max-turns", "1")),
    "max_budget": Scenario("[[bash:true]] [[bash:true]]", args=("--max-budget-usd", "0.001")),
    "interrupted": Scenario(LONG_TOOL, stop_at='"name":"Bash"'),
    "killed": Scenario(LONG_TOOL, stop_at='"name":"Bash"', stop_with=signal.SIGKILL),
}


async def record(name: str, scenario: Scenario) -> None:
    """Run one scenario and write what was printed."""
    tools = SwarmTools()
    with tempfile.TemporaryDirectory() as scratch:
        async with ScriptedModel() as model, serving(tools) as tools_url:
            servers = {"agent-swarm": {"type": "http", "url": f"{tools_url}/mcp"}}
            if name == "hello":
                servers["gone"] = {"type": "http", "url": "http://127.0.0.1:9/mcp"}
            folder = Path(scratch)
            (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
            (folder / "work").mkdir()
            (folder / "home").mkdir()
            env = hermetic_env(folder / "home", model.url, **dict(scenario.env))
            args = scenario.args
            if scenario.before:
                first = await _run(Scenario(scenario.before), (), env, folder)
                args = (*args, "--resume", json.loads(first[0])["session_id"])
            lines = await _run(scenario, args, env, folder)
            tidy = [_tidied(line, scratch, model.url) for line in lines]
    (STREAMS / f"{name}.jsonl").write_text("\n".join(tidy) + "\n")
    print(f"{name}: {len(lines)} lines")


async def _run(
    scenario: Scenario, args: tuple[str, ...], env: dict[str, str], folder: Path
) -> list[str]:
    command = [str(PROGRAM), "-p", "--output-format", "stream-json", "--verbose"]
    command += ["--dangerously-skip-permissions", "--strict-mcp-config"]
    command += ["--mcp-config", str(folder / "mcp.json"), *args]
    lines: list[str] = []
    async with await anyio.open_process(
        command, env=env, cwd=folder / "work", stderr=sys.stderr
    ) as process:
        assert process.stdin
        assert process.stdout
        await process.stdin.send(scenario.prompt.encode())
        await process.stdin.aclose()
        buffered = b""
        async for chunk in process.stdout:
            *complete, buffered = (buffered + chunk).split(b"\n")
            for line in complete:
                lines.append(line.decode())
                if scenario.stop_at and scenario.stop_at in lines[-1]:
                    await anyio.sleep(1)  # the tool is announced before it runs
                    process.send_signal(scenario.stop_with)
    return lines


_LONG_LISTS = ("tools", "slash_commands", "terminal_slash_commands", "agents", "skills", "plugins")
_DROPPED = ("memory_paths", "messaging_socket_path", "capabilities", "additional_directories")


def _tidied(line: str, scratch: str, model_url: str) -> str:
    event = json.loads(line)
    session = event.get("session_id", SESSION)
    if event.get("subtype") == "init":
        for key in _LONG_LISTS:
            event[key] = event.get(key, [])[:2]
        for key in _DROPPED:
            event.pop(key, None)
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    text = text.replace(session, SESSION).replace(scratch, "/scratch").replace(model_url, "URL")
    text = re.sub(r"/tmp/[\w./-]+", "/tmp/…", text)
    text = re.sub(r'"uuid":"[0-9a-f-]{36}"', '"uuid":"…"', text)
    return re.sub(r'"timestamp":"[^"]+"', '"timestamp":"2026-11-20T12:00:00.000Z"', text)


async def main(names: list[str]) -> None:
    """Record the named scenarios, or all."""
    STREAMS.mkdir(parents=True, exist_ok=True)
    for name in names or SCENARIOS:
        await record(name, SCENARIOS[name])


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
