"""Declare Factory Droid: its specification, under both of its names, and its variables."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

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


class DroidOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness droid
    program: ShellWords = live(
        "DROID_BINARY", default=("droid",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    autonomy: Literal["read-only", "low", "medium", "high"] = live(
        "DROID_AUTONOMY", default="high", is_checked_late=True
    )
    """What the agent may do: ``read-only``, ``low`` (files), ``medium`` (commands that can be
    undone) or ``high`` (everything). Whatever goes beyond is refused."""
    key: Stripped = live("FACTORY_API_KEY", default="", is_native=True)
    """API key of Factory; may be a pool."""


SPEC = HarnessSpec(
    name="droid",
    wire_name=("acp", "opencode"),
    program=Program(
        name="droid",
        variables=("DROID_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="droid",
            separator="@",
            version="0.215.0",
        ),
    ),
    options=DroidOptions,
    credentials=Credentials(
        variables=("FACTORY_API_KEY",),
        files=(".factory/auth.json", ".factory/auth.v2.file", ".factory/settings.json"),
    ),
    skills=Skills(folders=(".factory/skills",), native_discovery=False),
    prompt=Prompt(system_delivery="stdin", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        permissions="asked",
        keeps_stdin_open=True,
    ),
    tools={
        "execute": "shell",
        "create": "write",
        "applypatch": "edit",
        "fetchurl": "fetch",
    },
)
FACTORY = replace(SPEC, name="factory")
