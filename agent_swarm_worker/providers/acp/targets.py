"""List agents that speak ACP and need no package of their own: the rows of ``ACP_TARGET``.

What a row says was measured with the version in the comment above it. A harness of this worker that
speaks the protocol is a target under its own name, too.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.providers.acp.target import CUSTOM, Asking, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        "custom": CUSTOM,
        # 0.101.0: without a mode a second model judges each call
        "claude-agent-acp": Target(
            name="claude-agent-acp",
            command=("claude-agent-acp",),
            env={"IS_SANDBOX": "1"},
            env_keys=(
                "ANTHROPIC_API_KEY",
                "ANTHROPIC_AUTH_TOKEN",
                "ANTHROPIC_BASE_URL",
                "CLAUDE_CODE_EXECUTABLE",
                "CLAUDE_CODE_MAX_RETRIES",
                "CLAUDE_CODE_OAUTH_TOKEN",
                "CLAUDE_CONFIG_DIR",
            ),
            modes=("bypassPermissions",),
            model_variable="ANTHROPIC_MODEL",
            reports_usage=True,
            notices=(r"^\s*\*\*Warning:\*\* We're changing auto mode ",),
            session_files=((".claude/projects", "*/{id}.jsonl"),),
        ),
        # 2.6.0: a failed request ends the turn with its text and without usage
        "codex-acp": Target(
            name="codex-acp",
            command=("codex-acp",),
            env={"INITIAL_AGENT_MODE": "agent-full-access", "NO_BROWSER": "1"},
            env_keys=("CODEX_API_KEY", "CODEX_HOME", "CODEX_PATH", "OPENAI_API_KEY"),
            modes=("agent-full-access",),
            asking=Asking(env={"INITIAL_AGENT_MODE": "read-only"}, modes=("read-only",)),
            reports_usage=True,
            session_files=((".codex/sessions", "*/*/*/*{id}.jsonl"),),
        ),
        # 3.0.65: drops tool servers that come with the session; a second prompt is lost
        "cline": Target(
            name="Cline",
            command=("cline", "--acp"),
            env={"CLINE_NO_AUTO_UPDATE": "1", "CLINE_TELEMETRY_DISABLED": "1"},
            env_keys=("CLINE_API_KEY", "CLINE_PROVIDER"),
            modes=("act",),
            options={"auto_approve": "true"},
            asking=Asking(modes=("act",), options={"auto_approve": "false"}),
            model_variable="CLINE_MODEL",
            mcp_file="cline",
        ),
        # 2.1.0: after 429 and too long a prompt the turn ends normally, with an empty answer
        "kimi": Target(
            name="Kimi",
            command=("kimi", "acp"),
            env={"KIMI_CODE_NO_AUTO_UPDATE": "1", "KIMI_DISABLE_TELEMETRY": "1"},
            env_keys=(
                "KIMI_CODE_HOME",
                "KIMI_MODEL_API_KEY",
                "KIMI_MODEL_BASE_URL",
                "KIMI_MODEL_MAX_CONTEXT_SIZE",
                "KIMI_MODEL_PROVIDER_TYPE",
            ),
            modes=("yolo",),
            model_variable="KIMI_MODEL_NAME",
            tool_names="title",
            has_late_usage=True,
        ),
        # 7.7.9: as opencode, of which it is a fork
        "kilo": Target(
            name="Kilo",
            command=("kilo", "acp"),
            env_keys=("KILO_API_KEY", "KILO_CONFIG_CONTENT", "OPENROUTER_API_KEY"),
            asking=None,
            usage="last",
        ),
        # 3.0.2: usage covers the session; takes tool servers although it does not say so
        "mistral-vibe": Target(
            name="Mistral Vibe",
            command=("vibe-acp",),
            env_keys=("MISTRAL_API_KEY", "VIBE_HOME"),
            modes=("auto-approve",),
            usage="session",
            reports_usage=True,
        ),
        # 0.10.48: continues a session with a replay; its own script is broken, the command is not
        "fast-agent": Target(
            name="fast-agent",
            command=("fast-agent", "acp", "--shell"),
            env_keys=(
                "ANTHROPIC_API_KEY",
                "GENERIC_API_KEY",
                "GENERIC_BASE_URL",
                "OPENAI_API_KEY",
            ),
            model_option="--model",
            asking=None,
        ),
        # 0.0.13: a library; ACP_TARGET_COMMAND names the script that is built on it
        "deepagents": Target(
            name="The deep agent",
            env_keys=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
            asking=None,
        ),
        # 0.0.34: drops tool servers that come with the session; the harness pi-cli is better
        "pi-acp": Target(
            name="pi-acp",
            command=("pi-acp",),
            env_keys=(
                "ANTHROPIC_API_KEY",
                "OPENAI_API_KEY",
                "OPENROUTER_API_KEY",
                "PI_ACP_PI_COMMAND",
                "PI_CODING_AGENT_DIR",
            ),
            modes=(),
            asking=None,
            mcp_file="pi",
            notices=(r"^\s*(?:pi v[\d.]+\n---\s*$|## Context\n)",),
        ),
        # 0.61.0: loading a session fails, and damages its file; the harness gemini is better
        "gemini": Target(
            name="The Gemini CLI",
            command=("gemini", "--acp"),
            env={"GEMINI_CLI_NO_RELAUNCH": "true", "GEMINI_CLI_TRUST_WORKSPACE": "true"},
            env_keys=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
            modes=("yolo",),
            model_option="--model",
            can_load=False,
            stays=True,
            tool_names="id",
            notices=(r"^\[MODE_UPDATE\] ",),
        ),
    }
)
