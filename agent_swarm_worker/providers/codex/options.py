"""Variables of the harness ``codex``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.kinds import ShellWords, Stripped  # noqa: TC001 - pydantic reads

NETWORK_TIMEOUT_S = 180.0
TRANSPORTS = ("auto", "app-server", "exec")
PROMPT_PLACES = ("developer", "agents-md")


class CodexLogin(HarnessOptions):
    """Where the CLI keeps its files, and what it logs in with."""

    # --- the login of codex
    codex_home: str = live("CODEX_HOME", default="", is_native=True)
    """The operator's folder of the CLI: its login, configuration and sessions; ``<HOME>/.codex`` by
    default. A session gets one of its own."""
    oauth: Stripped = live("CODEX_OAUTH", default="", is_native=True)
    """A ChatGPT login of this worker's own, as JSON; a login of the swarm goes before it."""
    api_key: Stripped = live("OPENAI_API_KEY", default="", is_native=True)
    """API key; may be a pool. A login goes before it."""
    oauth_pooled: str = live("CODEX_OAUTH_POOLED", default="", is_native=True)
    """Set to ``1`` by the worker for a session whose login is the swarm's: the CLI must not renew
    it."""
    auth_mode: str = live("CODEX_AUTH_MODE", default="", is_native=True)
    """Set to ``apikey`` by the worker for a session that uses the key although the CLI is logged
    in."""

    @property
    def operator_home(self) -> Path | None:
        """The folder in which the CLI keeps its files when nobody says otherwise."""
        if self.codex_home:
            return Path(self.codex_home)
        return Path(self.home, ".codex") if self.home else None


class CodexOptions(CodexLogin):
    """How the CLI is started and watched."""

    # --- the harness codex
    program: ShellWords = live(
        "CODEX_BINARY",
        "CODEX_PATH_OVERRIDE",
        default=("codex",),
        is_native=True,
        is_checked_late=True,
    )
    """The program and its first arguments, split as a shell splits words."""
    transport: Literal["auto", "app-server", "exec"] = live(
        "CODEX_TRANSPORT", default="auto", is_checked_late=True
    )
    """How the CLI is spoken to; ``auto`` asks the program once whether it has an app server."""
    network_timeout_s: float = live(
        "CODEX_NETWORK_TIMEOUT_SECONDS", default=NETWORK_TIMEOUT_S, is_checked_late=True
    )
    """How long the CLI may do nothing but try to reach the model's API."""
    system_prompt: Literal["developer", "agents-md"] = live(
        "CODEX_SYSTEM_PROMPT", default="developer", is_checked_late=True
    )
    """Where the system prompt goes: into the developer instructions, or into ``AGENTS.md``."""
    runtime_id: str | None = live("SWARM_RUNTIME_INSTANCE_ID")
    """Set by the worker for each session: its own instance, told to the swarm's tool server."""

    @field_validator("transport", "system_prompt", mode="before")
    @classmethod
    def _known(cls, value: object, info: object) -> object:
        word = str(value).strip().lower()
        is_transport = getattr(info, "field_name", "") == "transport"
        if is_transport and word not in TRANSPORTS:
            msg = f"known are {', '.join(TRANSPORTS)}"
            raise ValueError(msg)
        if not is_transport and word not in PROMPT_PLACES:
            msg = f"known are {' and '.join(PROMPT_PLACES)}"
            raise ValueError(msg)
        return word

    @field_validator("network_timeout_s", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> float:
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            msg = "not a number of seconds"
            raise ValueError(msg)
        return seconds
