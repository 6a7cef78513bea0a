"""A session's configuration, for tests that start or nearly start one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from agent_swarm_worker.contract import ProviderSessionConfig
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.sandboxes.local import LocalGuest

if TYPE_CHECKING:
    from pathlib import Path


def make_config(folder: Path, **changed: Any) -> ProviderSessionConfig:
    """A configuration whose files all lie in `folder`."""
    (folder / "private").mkdir(mode=0o700, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "prompt": "do it",
        "agent_id": "agent-1",
        "task_id": "task-1",
        # Of their own: a session's end sweeps away whatever carries its id, in other tests too.
        "session_uuid": str(uuid4()),
        "api_url": "http://swarm.test",
        "api_key": "swarm-api-key-0001",
        "cwd": folder / "work",
        "log_file": folder / "session.jsonl",
        "private_dir": folder / "private",
        "env": {"PATH": "/usr/bin", "HOME": str(folder), "ANTHROPIC_API_KEY": "sk-ant-0001"},
        "redactor": Scrubber(),
    }
    values |= changed
    values.setdefault("guest", LocalGuest(values["session_uuid"]))
    return ProviderSessionConfig(**values)
