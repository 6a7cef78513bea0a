"""Declare Qwen Code: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Installation,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class QwenOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness qwen
    program: ShellWords = live(
        "QWEN_BINARY", default=("qwen",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    openai_key: Stripped = live("OPENAI_API_KEY", default="", is_native=True)
    """API key of the service with the models; may be a pool."""
    openai_url: Stripped = live("OPENAI_BASE_URL", default="", is_native=True)
    """Address of the service with the models."""
    openai_model: Stripped = live("OPENAI_MODEL", default="", is_native=True)
    """Model of a task that names none."""


SPEC = HarnessSpec(
    name="qwen",
    wire_name=("acp", "opencode"),
    program=Program(
        name="qwen",
        variables=("QWEN_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@qwen-code/qwen-code",
            separator="@",
            version="0.24.4",
        ),
    ),
    options=QwenOptions,
    credentials=Credentials(
        variables=("OPENAI_API_KEY",),
        files=(".qwen/oauth_creds.json", ".qwen/settings.json"),
    ),
    skills=Skills(folders=(".qwen/skills",), native_discovery=False),
    prompt=Prompt(system_delivery="stdin", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        cost_source="price-table",
        permissions="asked",
        keeps_stdin_open=True,
    ),
    tools={
        "read_file": "read",
        "read_many_files": "read",
        "write_file": "write",
        "replace": "edit",
        "run_shell_command": "shell",
        "grep_search": "search",
        "list_directory": "list-directory",
        "web_fetch": "fetch",
        "ask_user_question": "question",
        "tool_search": "housekeeping",
        "todo_write": "plan",
    },
)
