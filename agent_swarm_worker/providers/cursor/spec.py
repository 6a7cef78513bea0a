"""Declare the Cursor CLI: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HangTexts,
    HarnessSpec,
    Models,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class CursorOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the CLI's."""

    # --- the harness cursor
    program: ShellWords = live(
        "CURSOR_BINARY", default=("cursor-agent",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    api_key: Stripped = live("CURSOR_API_KEY", default="", is_native=True)
    """API key; may be a pool. It goes before the user's login."""


SPEC = HarnessSpec(
    name="cursor",
    wire_name="opencode",
    program=Program(name="cursor-agent", variables=("CURSOR_BINARY",)),
    options=CursorOptions,
    credentials=Credentials(
        variables=("CURSOR_API_KEY",), files=(".config/cursor/auth.json",), one_at_a_time=True
    ),
    models=Models(
        # The vendor's names change often; `auto` leaves the choice to it.
        aliases=dict.fromkeys(("fable", "opus", "sonnet", "haiku"), "auto"),
        tiers=dict.fromkeys(("smol", "regular", "smart", "ultra"), "auto"),
        efforts=("low", "medium", "high", "xhigh"),
    ),
    skills=Skills(folders=(".cursor/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="stdin", reads_repository_notes=True),
    is_synthetic=True,
    capabilities=Capabilities(can_resume=True),
    error_texts={
        "stale_session": (
            r"\b(?:chat|session|conversation)\b[^\n]{0,80}\b(?:not found|does not exist)",
        ),
        "model_not_found": (r"cannot use this model",),
        "usage_limit": (r"you've hit your usage limit",),
    },
    hang_texts=HangTexts(asking=(r"trust this (?:workspace|folder|directory)",)),
    tools={
        "shell": "shell",
        "ls": "list-directory",
        "glob": "find-files",
        "grep": "search",
        "semsearch": "search",
        "read": "read",
        "write": "write",
        "edit": "edit",
        "delete": "edit",
        "task": "subagent",
        "updatetodos": "plan",
        "readtodos": "plan",
        "websearch": "web-search",
        "webfetch": "fetch",
        "askquestion": "question",
    },
)
