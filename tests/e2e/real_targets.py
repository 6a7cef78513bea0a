"""The agents of the harness ``acp``, each isolated with the scripted model."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import real_acp
import real_claude
import real_codex
import real_gemini
import real_pi_cli
from real_claude import MORE, TOOLS


def _acp(env: dict[str, str], target: str, **own: str) -> dict[str, str]:
    path = f"{MORE}/bin:{TOOLS}/bin:{env['PATH']}"
    return {**env, "PATH": path, "HARNESS_PROVIDER": "acp", "ACP_TARGET": target, **own}


def _bare(home: Path, target: str, **own: str) -> dict[str, str]:
    return _acp(real_acp.bare_env(home), target, **own)


def custom_env(home: Path, model_url: str) -> dict[str, str]:
    env = real_acp.opencode_env(home, model_url)
    command = shlex.join([env["OPENCODE_BINARY"], "acp"])
    keys = ",".join(("OPENCODE_CONFIG_CONTENT", *real_acp.OFFLINE))
    return _acp(env, "custom", ACP_TARGET_COMMAND=command, ACP_TARGET_ENV_KEYS=keys)


def claude_env(home: Path, model_url: str) -> dict[str, str]:
    env = real_claude.hermetic_env(home, model_url, CLAUDE_CODE_MAX_RETRIES="0")
    keys = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC,DISABLE_AUTOUPDATER,DISABLE_TELEMETRY"
    return _acp(env, "claude-agent-acp", ACP_TARGET_ENV_KEYS=keys)


def codex_env(home: Path, model_url: str) -> dict[str, str]:
    env = real_codex.codex_env(home, model_url, CODEX_HOME=str(home / ".codex"))
    config = home / ".codex/config.toml"
    # The agent logs in with the key of its environment.
    login = ("requires_openai_auth = true", 'env_key = "OPENAI_API_KEY"')
    config.write_text(config.read_text().replace(*login))
    return _acp(env, "codex-acp")


def cline_env(home: Path, model_url: str) -> dict[str, str]:
    env = _bare(home, "cline", CLINE_API_KEY="x", CLINE_PROVIDER="openai-compatible")
    login = ["auth", "-p", "openai", "-k", "x", "-m", "model", "-b", f"{model_url}/v1"]
    own = {**env, "CLINE_NO_AUTO_UPDATE": "1", "CLINE_TELEMETRY_DISABLED": "1"}
    subprocess.run(
        [MORE / "bin/cline", *login], env=own, check=True, capture_output=True, timeout=60
    )
    return env


def kimi_env(home: Path, model_url: str) -> dict[str, str]:
    return _bare(
        home,
        "kimi",
        KIMI_CODE_HOME=str(home / ".kimi-code"),
        KIMI_MODEL_API_KEY="sk-scripted",
        KIMI_MODEL_BASE_URL=f"{model_url}/v1",
        KIMI_MODEL_MAX_CONTEXT_SIZE="1000000",
        KIMI_MODEL_NAME="model",
        KIMI_MODEL_PROVIDER_TYPE="openai",
    )


def kilo_env(home: Path, model_url: str) -> dict[str, str]:
    env = real_acp.opencode_env(home, model_url)
    config = env.pop("OPENCODE_CONFIG_CONTENT")
    keys = ",".join(real_acp.OFFLINE)
    return _acp(env, "kilo", KILO_CONFIG_CONTENT=config, ACP_TARGET_ENV_KEYS=keys)


def vibe_env(home: Path, model_url: str) -> dict[str, str]:
    folder = home / ".vibe"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f"""\
active_model = "scripted"
enable_telemetry = false
enable_auto_update = false

[[providers]]
name = "scripted"
api_base = "{model_url}/v1"
api_key_env_var = "MISTRAL_API_KEY"

[[models]]
name = "model"
provider = "scripted"
alias = "scripted"
"""
    )
    return _bare(home, "mistral-vibe", VIBE_HOME=str(folder), MISTRAL_API_KEY="sk-scripted")


def fast_agent_env(home: Path, model_url: str) -> dict[str, str]:
    own = {"GENERIC_BASE_URL": f"{model_url}/v1", "GENERIC_API_KEY": "sk-scripted"}
    return _bare(home, "fast-agent", MODEL_OVERRIDE="generic.model", **own)


def deepagents_env(home: Path, model_url: str) -> dict[str, str]:
    script = Path(__file__).with_name("deep_agent.py")
    return _bare(
        home,
        "deepagents",
        ACP_TARGET_COMMAND=shlex.join([str(MORE / "bin/deepagents"), str(script)]),
        OPENAI_BASE_URL=f"{model_url}/v1",
        OPENAI_API_KEY="sk-scripted",
    )


def pi_acp_env(home: Path, model_url: str) -> dict[str, str]:
    env = real_pi_cli.pi_cli_env(home, model_url)
    env.pop("MODEL_OVERRIDE")
    folder = home / ".pi/agent"
    provider, _, model = real_pi_cli.MODEL.partition("/")
    settings = {"defaultProvider": provider, "defaultModel": model, "retry": {"enabled": False}}
    (folder / "settings.json").write_text(json.dumps(settings))
    own = {"PI_ACP_PI_COMMAND": str(MORE / "bin/pi"), "PI_CODING_AGENT_DIR": str(folder)}
    return _acp(env, "pi-acp", **own)


def gemini_env(home: Path, model_url: str) -> dict[str, str]:
    return _acp(real_gemini.gemini_env(home, model_url), "gemini")
