"""Declare the harness ``acp``: its specification and its variables."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from agent_swarm_worker.contract import Capabilities, HarnessSpec, Prompt, Skills
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import Lowered, Stripped, YesFlag, json_of

START_TIMEOUT_S = 120.0
SILENCE_TIMEOUT_S = 300.0


def _words(value: object) -> object:
    """Read a JSON array of texts, or split as a shell splits words."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", "{")):
        return tuple(shlex.split(value))
    return _texts(value)


def _names(value: object) -> object:
    """Read a JSON array of texts, or names separated by commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return _texts(value)


def _texts(value: str) -> tuple[str, ...]:
    found = json_of(value)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        msg = "expected a JSON array of texts"
        raise ValueError(msg)
    return tuple(found)


def _object(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = json_of(value)
    if not isinstance(found, dict):
        msg = "expected a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports it
    return found


JsonWords = Annotated[tuple[str, ...], BeforeValidator(_words)]
JsonNames = Annotated[tuple[str, ...], BeforeValidator(_names)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_object)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AcpLimits(HarnessOptions):
    """How long every agent that speaks the Agent Client Protocol may be silent."""

    # --- all harnesses that speak the Agent Client Protocol
    start_timeout_s: Seconds = live(
        "ACP_START_TIMEOUT_SECONDS", default=START_TIMEOUT_S, is_checked_late=True
    )
    """How long an agent may take from its start to its first prompt; ``0`` is no limit."""
    silence_timeout_s: Seconds = live(
        "ACP_SILENCE_TIMEOUT_SECONDS", default=SILENCE_TIMEOUT_S, is_checked_late=True
    )
    """How long an agent may say nothing while no tool of it runs: most retry a failed request to
    the model without a word. ``0`` is no limit."""
    turn_timeout_s: Seconds = live("ACP_TURN_TIMEOUT_SECONDS", default=0.0, is_checked_late=True)
    """How long one turn may take; ``0`` is no limit."""


class AcpOptions(AcpLimits):
    """Which agent runs the sessions of the harness ``acp``."""

    # --- the harness acp
    target: Lowered = live("ACP_TARGET", default="custom", is_checked_late=True)
    """The agent: ``custom``, a row of the table in [harnesses.md](harnesses.md#acp), or another
    harness of this worker that speaks the protocol."""
    target_command: Stripped = live("ACP_TARGET_COMMAND", "ACP_COMMAND", default="")
    """The program; without ``ACP_TARGET_ARGS`` a command line, split as a shell splits words."""
    target_args: JsonWords = live("ACP_TARGET_ARGS", default=(), is_checked_late=True)
    """Its arguments: a JSON array, or words as of a shell."""
    system_prompt_path: Stripped = live("ACP_SYSTEM_PROMPT_PATH", default="")
    """A file, absolute or below the working directory, that the agent reads its system prompt from;
    written for the session, and removed after it. Without it the prompt goes with the session if
    the agent takes it there, else in front of the task."""
    target_env_keys: JsonNames = live("ACP_TARGET_ENV_KEYS", default=(), is_checked_late=True)
    """Further variables that the agent gets: a JSON array, or names separated by commas."""
    model_env_key: Stripped = live("ACP_MODEL_ENV_KEY", default="")
    """The variable that tells the agent its model."""
    config_options: JsonObject = live("ACP_CONFIG_OPTIONS", default={}, is_checked_late=True)
    """Options of the session, as a JSON object of id and value; those that the agent does not offer
    are left out, and said."""
    client_tools: YesFlag = live("ACP_CLIENT_TOOLS", default=False)
    """Offer the agent to read and write files and to run commands through the worker, confined to
    the working directory; otherwise it uses its own tools. ``1``, ``true``, ``on`` or ``yes``."""

    def command_line(self) -> tuple[str, ...]:
        """Return program and arguments; empty if none is set. Raises `ValueError`."""
        if not self.target_args:
            return tuple(shlex.split(self.target_command))
        return (self.target_command, *self.target_args) if self.target_command else ()


SPEC = HarnessSpec(
    name="acp",
    wire_name="opencode",
    command_variables=("ACP_TARGET_COMMAND", "ACP_TARGET_ARGS"),
    code_variables=("ACP_COMMAND",),
    options=AcpOptions,
    skills=Skills(folders=(".agents/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="stdin"),
    capabilities=Capabilities(
        steer_modes=("queue",),
        can_resume=True,
        can_fork=True,
        cost_source="harness",
        permissions="asked",
        keeps_stdin_open=True,
        has_session_token=True,
    ),
    # The kinds of the protocol, and names that several agents use.
    tools={
        "fetch": "fetch",
        "search": "search",
        "delete": "edit",
        "move": "edit",
        "think": "housekeeping",
        "switch_mode": "housekeeping",
        "apply_patch": "edit",
        "exec_command": "shell",
        "execute": "shell",
        "list_directory": "list-directory",
        "read_file": "read",
        "replace": "edit",
        "run_command": "shell",
        "run_commands": "shell",
        "run_shell_command": "shell",
        "run_terminal_command": "shell",
        "shell": "shell",
        "todo_write": "plan",
        "write_file": "write",
    },
    stage="agent_swarm_worker.providers.acp.harness_fixture:AcpFixture",
)
