"""The real agents of `install-clis.sh` that speak ACP, each isolated with the scripted model."""

from __future__ import annotations

import json
import os
from pathlib import Path

from real_claude import TOOLS

SHELLS = {
    "opencode": "bash",
    "qwen": "run_shell_command",
    "copilot": "bash",
    "grok": "run_terminal_command",
    "droid": "Execute",
}
"""What each calls its shell tool."""
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


def opencode_env(home: Path, model_url: str, **more: str) -> dict[str, str]:
    config = json.loads(json.dumps(CONFIG))
    config["provider"]["scripted"]["options"] = {"baseURL": f"{model_url}/v1", "apiKey": "x"}
    return _env(home, "opencode", OPENCODE_CONFIG_CONTENT=json.dumps(config), **more)


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
    (folder / "settings.json").write_text(json.dumps({"customModels": [model]}))
    return _env(home, "droid", FACTORY_API_KEY="fk-scripted", **more)


def _env(home: Path, name: str, **more: str) -> dict[str, str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        f"{name.upper()}_BINARY": str(TOOLS / "bin" / name),
        "HARNESS_PROVIDER": name,
        **more,
    }
    return {name: value for name, value in env.items() if value}


ENVIRONMENTS = {
    "opencode": opencode_env,
    "qwen": qwen_env,
    "copilot": copilot_env,
    "grok": grok_env,
    "droid": droid_env,
}
