"""The real CLIs of `install-clis.sh` that speak ACP, each isolated with the scripted model."""

from __future__ import annotations

import json
import os
from pathlib import Path

from real_claude import MORE, TOOLS

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


def bare_env(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def _env(home: Path, name: str, **more: str) -> dict[str, str]:
    own = {f"{name.upper()}_BINARY": str(_program(name)), "HARNESS_PROVIDER": name}
    env = {**bare_env(home), **own, **more}
    return {key: value for key, value in env.items() if value}


def _program(name: str) -> Path:
    pinned = TOOLS / "bin" / name
    return pinned if pinned.exists() else MORE / "bin" / name
