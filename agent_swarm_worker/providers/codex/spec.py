"""What OpenAI's command line is, for everything outside this package."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Installation,
    Models,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.providers.codex.options import CodexOptions

OAUTH = "CODEX_OAUTH"
API_KEY = "OPENAI_API_KEY"
POOLED = "CODEX_OAUTH_POOLED"
AUTH_MODE = "CODEX_AUTH_MODE"
"""``apikey``: the worker has chosen the key, although the CLI is logged in."""

_CONFIG = """\
# The container is the sandbox, and nobody is there to approve anything.
approval_policy = "never"
sandbox_mode = "danger-full-access"
"""

SPEC = HarnessSpec(
    name="codex",
    program=Program(
        name="codex",
        variables=("CODEX_BINARY", "CODEX_PATH_OVERRIDE"),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@openai/codex",
            separator="@",
            version="0.169.0",
        ),
    ),
    options=CodexOptions,
    credentials=Credentials(
        variables=(OAUTH, API_KEY),
        files=(".codex/auth.json",),
        one_at_a_time=True,
        personal=(OAUTH,),
        # Rows of the swarm's login pool: they hold refresh tokens.
        withheld=(r"codex_oauth", r"(?i:codex_oauth_\d+)"),
        set_by_worker=(POOLED, AUTH_MODE),
        login="agent_swarm_worker.login.codex_hook:CodexLogins",
    ),
    models=Models(
        default="gpt-5.6-terra",
        # Tasks may use the short names of another vendor's models.
        aliases={
            "fable": "gpt-5.6-sol",
            "opus": "gpt-5.6-sol",
            "sonnet": "gpt-5.6-terra",
            "haiku": "gpt-5.6-luna",
        },
        tiers={
            "smol": "gpt-5.6-luna",
            "regular": "gpt-5.6-terra",
            "smart": "gpt-5.6-sol",
            "ultra": "gpt-5.6-sol",
        },
    ),
    skills=Skills(folders=(".codex/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        can_fork=True,
        mcp_transports=("http", "stdio"),
        cost_source="price-table",
        keeps_stdin_open=True,
    ),
    error_texts={
        "context_overflow": (r"ran out of room in the model's context",),
        "billing_error": (r"workspace owner to refill", r"refill in order to continue"),
    },
    tools={"bash": "shell", "write": "write", "edit": "edit"},
    home_files={".codex/config.toml": _CONFIG},
)
