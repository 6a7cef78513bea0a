"""The environment in which the in-process harness talks only to a scripted model."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

APIS = ("anthropic", "openai")
"""Wire formats that it speaks with models."""
SHELL = "bash"
"""What it calls its shell tool."""

_MODULES = ("agent", "model_requests", "mcp_tools", "mcp_transports", "tools")
_LIBRARIES = (
    "anthropic",
    "openai",
    "pydantic_ai.models.anthropic",
    "pydantic_ai.models.openai",
    *(f"agent_swarm_worker.providers.pi.{name}" for name in _MODULES),
)


def load_libraries() -> None:
    """Load what a first session would load, before a test counts seconds.

    That takes six seconds of a processor, and on a busy machine most of a minute.
    """
    for name in _LIBRARIES:
        import_module(name)


def pi_env(home: Path, model_url: str, *, api: str, **more: str) -> dict[str, str]:
    """An environment that has one model.

    Args:
        home: an empty directory that plays the user's home.
        model_url: base URL of a scripted model.
        api: one of `APIS`.
        more: further variables.
    """
    model = {
        "anthropic": {
            "ANTHROPIC_API_KEY": "sk-ant-scripted-0123456789",
            "ANTHROPIC_BASE_URL": model_url,
            "MODEL_OVERRIDE": "anthropic/claude-opus-4-8",
        },
        "openai": {
            "OPENAI_API_KEY": "sk-scripted-0123456789",
            "OPENAI_BASE_URL": f"{model_url}/v1",
            "MODEL_OVERRIDE": "openai/gpt-scripted",
        },
    }[api]
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "PI_RETRY_BASE_S": "0.01"}
    return {**base, **model, **more}
