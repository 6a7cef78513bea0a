"""Build a session's configuration for tests; each field has a default."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from agent_swarm_worker.contract import ProviderSessionConfig
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.sandboxes.local import LocalGuest

NOWHERE = Path("/nowhere")
"""The folder of a session that only translates."""


def session_config(folder: Path = NOWHERE, **changed: Any) -> ProviderSessionConfig:
    """Return a configuration whose files are all in `folder`, except for the `changed` fields."""
    values: dict[str, Any] = {
        "prompt": "do it",
        "agent_id": "agent-1",
        "task_id": "task-1",
        # Unique, as the end of a session kills every process that carries its id.
        "session_uuid": str(uuid4()),
        "api_url": "http://swarm.test",
        "api_key": "swarm-api-key-0001",
        "cwd": folder / "work",
        "log_file": folder / "session.jsonl",
        "private_dir": folder / "private",
        "env": {},
        "redactor": Scrubber(),
        **changed,
    }
    values.setdefault("guest", LocalGuest(values["session_uuid"]))
    if folder != NOWHERE:
        for path in (values["cwd"], values["private_dir"]):
            if not path.exists():
                path.mkdir(mode=0o700)
    return ProviderSessionConfig(**values)
