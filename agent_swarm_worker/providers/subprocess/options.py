"""Variables of the harness ``subprocess``."""

from __future__ import annotations

from typing import Literal

from agent_swarm_worker.settings import HarnessOptions, live


class SubprocessOptions(HarnessOptions):
    """Which program runs the sessions, and how its output is read."""

    # --- the harness subprocess
    command: str = live("HARNESS_COMMAND", default="")
    """The command line, split as a shell splits words; no shell runs."""
    output: Literal["auto", "stream-json", "jsonl", "text"] = live("HARNESS_OUTPUT", default="auto")
    """How its standard output is read."""
