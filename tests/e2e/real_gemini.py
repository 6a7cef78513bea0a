"""The real Gemini CLI of `install-clis.sh`, isolated with the scripted model."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from real_claude import TOOLS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = TOOLS / "bin/gemini"
SHELL = "run_shell_command"
"""What the CLI calls its shell tool."""
STORE = "mcp_agent-swarm_store-progress"
"""What it calls the swarm's tool."""


def gemini_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    """An environment in which the CLI reads nothing of this user and talks only to `model_url`.

    Args:
        home: an empty directory that plays the user's home.
        model_url: base URL of a scripted model.
        more: further variables; an empty value takes one out.
    """
    folder = home / ".gemini"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"general": {"maxAttempts": 1}, "telemetry": {"enabled": False}}
    (folder / "settings.json").write_text(f"// The user's\n{json.dumps(settings)}")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GEMINI_BINARY": str(PROGRAM),
        "GEMINI_API_KEY": "AIza-scripted-0123456789",
        "GOOGLE_GEMINI_BASE_URL": model_url,
        "MODEL_OVERRIDE": "gemini-2.5-pro",
        **more,
    }
    return {name: value for name, value in env.items() if value}
