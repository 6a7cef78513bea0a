"""The real codex CLI of `install-clis.sh`, isolated with the scripted model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from real_claude import TOOLS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = TOOLS / "bin/codex"
TRANSPORTS = ("app-server", "exec")


def codex_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    """An environment in which the CLI reads nothing of this user and talks only to `model_url`.

    The model is reached through a provider in the operator's own configuration, which logs in the
    way the vendor's does.

    Args:
        home: an empty directory that plays the user's home.
        model_url: base URL of a scripted model.
        more: further variables; an empty value takes one out.
    """
    folder = home / ".codex"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(
        f"""\
model_provider = "scripted"

[features]
enable_request_compression = false

[model_providers.scripted]
name = "scripted"
base_url = "{model_url}/v1"
wire_api = "responses"
requires_openai_auth = true
request_max_retries = 0
stream_max_retries = 0
"""
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CODEX_BINARY": str(PROGRAM),
        "OPENAI_API_KEY": "sk-scripted-0001",
        **more,
    }
    return {name: value for name, value in env.items() if value}
