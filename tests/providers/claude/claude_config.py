"""A configuration with a credential for claude."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from session_config import session_config

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.contract import ProviderSessionConfig


def make_config(folder: Path, **changed: Any) -> ProviderSessionConfig:
    env = {"PATH": "/usr/bin", "HOME": str(folder), "ANTHROPIC_API_KEY": "sk-ant-0001"}
    return session_config(folder, **{"env": env, **changed})
