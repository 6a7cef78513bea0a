"""The real pi command line of `install-clis.sh`, isolated with the scripted model."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from real_claude import TOOLS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = TOOLS / "bin/pi"
SHELL = "bash"
STORE = "mcp__agent-swarm__store-progress"
MODEL = "scripted/scripted-1"


def pi_cli_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    """An environment in which the program reads nothing of this user and talks to `model_url`.

    Args:
        home: an empty directory that plays the user's home.
        model_url: base URL of a scripted model.
        more: further variables; an empty value takes one out.
    """
    folder = home / ".pi/agent"
    folder.mkdir(parents=True, exist_ok=True)
    cost = {"input": 1, "output": 2, "cacheRead": 0.1, "cacheWrite": 1.25}
    model = {"id": "scripted-1", "contextWindow": 128_000, "maxTokens": 8192, "cost": cost}
    provider = {
        "baseUrl": f"{model_url}/v1",
        "api": "openai-completions",
        "apiKey": "sk-scripted-0001",
        "models": [model],
    }
    (folder / "models.json").write_text(json.dumps({"providers": {"scripted": provider}}))
    (folder / "settings.json").write_text(json.dumps({"retry": {"enabled": False}}))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PI_CLI_BINARY": str(PROGRAM),
        "MODEL_OVERRIDE": MODEL,
        **more,
    }
    return {name: value for name, value in env.items() if value}
