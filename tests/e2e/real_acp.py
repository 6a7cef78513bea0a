"""The real agents of `install-clis.sh` that speak ACP, each isolated with the scripted model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from real_claude import TOOLS
from scripted_model import ScriptedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class AcpAgent:
    """One agent, and what its model has to call its tools."""

    name: str
    env: Callable[..., dict[str, str]]
    """From an empty home directory and the model's address to the worker's settings."""
    shell: str
    shell_arguments: dict[str, str] = field(default_factory=dict)
    swarm_tools: str
    """The tag for a call to a tool of the swarm, with ``NAME`` and ``ARGS``."""

    def model(self) -> ScriptedModel:
        return ScriptedModel(self.shell, self.shell_arguments)

    def call(self, tool: str, **arguments: str) -> str:
        """Return the tags with which the model calls a tool of the swarm."""
        return self.swarm_tools.replace("NAME", tool).replace("ARGS", json.dumps(arguments))


CONFIG = {
    "model": "scripted/model",
    "small_model": "scripted/small",
    "provider": {
        "scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Scripted",
            "models": {
                "model": {"limit": {"context": 128000, "output": 8192}, "tool_call": True},
                "small": {},
            },
        }
    },
}


OFFLINE = {
    "NPM_CONFIG_OFFLINE": "true",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}
"""In each new home it installs what plug-ins need, and the first session waits for it."""


def opencode_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    config = json.loads(json.dumps(CONFIG))
    config["provider"]["scripted"]["options"] = {"baseURL": f"{model_url}/v1", "apiKey": "x"}
    return _env(home, "opencode", OPENCODE_CONFIG_CONTENT=json.dumps(config), **OFFLINE, **more)


def qwen_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    url = f"{model_url}/v1"
    own = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-scripted", "OPENAI_MODEL": "model"}
    return _env(home, "qwen", **own, **more)


def copilot_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    own = {
        "COPILOT_PROVIDER_BASE_URL": f"{model_url}/v1",
        "COPILOT_PROVIDER_API_KEY": "sk-scripted",
        "COPILOT_MODEL": "model",
        "COPILOT_OFFLINE": "true",
    }
    return _env(home, "copilot", **own, **more)


def grok_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    own = {
        "GROK_MODELS_BASE_URL": f"{model_url}/v1",
        "XAI_API_KEY": "sk-scripted",
        "GROK_DISABLE_AUTOUPDATER": "1",
        "GROK_TELEMETRY_ENABLED": "0",
    }
    return _env(home, "grok", **own, **more)


def droid_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    folder = home / ".factory"
    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "model": "model",
        "displayName": "Scripted",
        "baseUrl": f"{model_url}/v1",
        "apiKey": "sk-scripted",
        "provider": "generic-chat-completion-api",
        "maxOutputTokens": 8192,
    }
    (folder / "settings.json").write_text(
        json.dumps({"customModels": [model], "cloudSessionSync": False})
    )
    own = {"FACTORY_AIRGAP_ENABLED": "true", "MODEL_OVERRIDE": "custom:model"}
    return _env(home, "droid", **own, **more)


def _env(home: Path, name: str, **more: str) -> dict[str, str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        f"{name.upper()}_BINARY": str(TOOLS / "bin" / name),
        "HARNESS_PROVIDER": name,
        **more,
    }
    return {name: value for name, value in env.items() if value}


_WRAPPED = '{"name": "mcp__agent-swarm__NAME", "arguments": ARGS}'
AGENTS = {
    agent.name: agent
    for agent in (
        AcpAgent(
            name="opencode",
            env=opencode_env,
            shell="bash",
            swarm_tools="[[tool:agent-swarm_NAME ARGS]]",
        ),
        AcpAgent(
            name="qwen",
            env=qwen_env,
            shell="run_shell_command",
            swarm_tools=f'[[tool:tool_search {{"query": "NAME"}}]] [[tool:tool_call {_WRAPPED}]]',
        ),
        AcpAgent(
            name="grok",
            env=grok_env,
            shell="run_terminal_command",
            shell_arguments={"description": "scripted"},
            swarm_tools='[[tool:use_tool {"tool_name": "agent-swarm__NAME", "tool_input": ARGS}]]',
        ),
        AcpAgent(
            name="copilot",
            env=copilot_env,
            shell="bash",
            swarm_tools="[[tool:agent-swarm-NAME ARGS]]",
        ),
        AcpAgent(
            name="droid",
            env=droid_env,
            shell="Execute",
            shell_arguments={"riskLevelReason": "scripted", "riskLevel": "low", "summary": "x"},
            swarm_tools="[[tool:agent-swarm___NAME ARGS]]",
        ),
    )
}
