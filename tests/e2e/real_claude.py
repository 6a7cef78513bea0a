"""The real Claude Code of `install-clis.sh`, isolated with the scripted model."""

from __future__ import annotations

import os
from pathlib import Path

TOOLS = Path(os.environ.get("SWARM_E2E_TOOLS") or Path.home() / ".cache/swarm-worker/tools")
MORE = TOOLS / "more"
"""What only `make e2e-all` drives."""
PROGRAM = TOOLS / "bin/claude"


def hermetic_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    """An environment in which the CLI reads nothing of this user and talks only to `model_url`.

    Args:
        home: an empty directory that plays the user's home.
        model_url: base URL of a scripted model.
        more: further variables; an empty value takes one out.
    """
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_BINARY": str(PROGRAM),
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "sk-ant-scripted",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",
        **more,
    }
    return {name: value for name, value in env.items() if value}
