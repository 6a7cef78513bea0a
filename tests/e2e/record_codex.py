"""Record what the real codex CLI prints, for the tests of its translators.

    python tests/e2e/record_codex.py

Run it after the pinned version changed, then look at what changed in the recordings. Paths, ids
and times that mean nothing to the translators are replaced.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from loopback import serving
from real_codex import TRANSPORTS, codex_env
from scripted_model import ScriptedModel
from swarm_tools import SwarmTools

from agent_swarm_worker.contract import ProviderSessionConfig, RawLog, ToolStart
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.providers.codex.adapter import CodexAdapter
from agent_swarm_worker.sandboxes.local import LocalGuest

STREAMS = Path(__file__).parent.parent / "providers/codex/streams"
STORE = "mcp__agent-swarm__store-progress"
SCENARIOS = {
    "hello": "[[say:Hello from the model.]]",
    "bash": "[[bash:echo hi]] [[say:It said hi.]]",
    "bash_fails": "[[bash:echo no >&2; exit 3]]",
    "swarm_tool": f'[[tool:{STORE} {{"progress":"half way"}}]] [[say:Reported.]]',
    "error_401": "[[fail:401]]",
    "error_429": "[[fail:429]]",
    "error_500": "[[fail:500]]",
    "interrupted": "[[bash:sleep 20]]",
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def cleaned(lines: list[str], folder: str) -> str:
    """Number the ids, and take out what changes from run to run."""
    ids: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return ids.setdefault(match[0], f"01a00000-0000-7000-8000-{len(ids) + 1:012}")

    text = _UUID.sub(numbered, "\n".join(lines)).replace(folder, "/scratch")
    text = re.sub(r'"(\w+AtMs|\w+At|durationMs)":\d+', r'"\1":1795000000', text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9100", text) + "\n"


async def record(transport: str, name: str, prompt: str, folder: Path, model_url: str) -> None:
    tools = SwarmTools()
    async with serving(tools) as url:
        private, cwd = folder / "private", folder / "work"
        private.mkdir(mode=0o700)
        cwd.mkdir()
        config = ProviderSessionConfig(
            prompt=prompt,
            agent_id="agent-1",
            task_id="task-1",
            session_uuid=str(folder.name),
            api_url=url,
            api_key="swarm-api-key-0001",
            guest=LocalGuest(str(folder.name)),
            cwd=cwd,
            log_file=folder / "log.jsonl",
            private_dir=private,
            env=codex_env(folder / "home", model_url, CODEX_TRANSPORT=transport),
            redactor=Scrubber(),
        )
        session = await CodexAdapter().create_session(config)
        lines: list[str] = []
        async with anyio.create_task_group() as tasks:

            def on_event(event: Any) -> None:
                if isinstance(event, RawLog):
                    lines.append(event.content)
                if isinstance(event, ToolStart) and name == "interrupted":
                    tasks.start_soon(session.abort, "cancelled")

            session.on_event(on_event)
            await session.wait_for_completion()
    kept = [line for line in lines if "item/agentMessage/delta" not in line or name == "hello"]
    STREAMS.mkdir(exist_ok=True)
    (STREAMS / f"{transport}_{name}.jsonl").write_text(cleaned(kept, str(folder)))
    print(f"{transport} {name}: {len(kept)} lines", file=sys.stderr)


async def main() -> None:
    async with ScriptedModel() as model:
        for transport in TRANSPORTS:
            for name, prompt in SCENARIOS.items():
                with tempfile.TemporaryDirectory() as folder:
                    await record(transport, name, prompt, Path(folder), model.url)


if __name__ == "__main__":
    anyio.run(main)
