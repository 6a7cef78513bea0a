"""The scenarios that are tried with every harness, and which results there may be."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SCENARIOS: Mapping[str, str] = MappingProxyType(
    {
        "answer": "answer",
        "tool": "tool",
        "mcp": "swarm's tools",
        "401": "401",
        "429": "429",
        "500": "500",
        "refused": "refused",
        "cut": "cut stream",
        "cancel": "cancel",
        "resume": "resume",
        "lost": "unknown id",
        "long": "1 MiB",
        "dash": "`-…`",
        "slash": "`/…`",
        "crash": "crash",
        "replay": "replay",
    }
)
"""Their names, as in ``pytest.mark.scenario``, and the heads of their columns."""
MORE_SCENARIOS = frozenset({"500", "refused", "cut", "crash", "replay"})
"""Those of `make e2e-all` only."""

STATES = ("passed", "cannot", "missing", "failed")
"""From the best to the worst: of several tests in one cell the worst counts."""
