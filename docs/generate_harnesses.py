"""Generate the table of ``harnesses.md`` from the specs; run it after changing one.

A test compares the page with the output of this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.registry import distribution_of, known_specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import HarnessSpec

TARGET = Path(__file__).with_name("harnesses.md")
PROJECT = "agent-swarm-worker"
BEGIN = "<!-- Generated from the specs by docs/generate_harnesses.py; do not edit. -->\n"
END = "<!-- end -->\n"
COLUMNS = (
    *("harness", "resume", "fork", "messages", "tool servers", "permissions", "cost"),
    "tested with",
)
NO = "\N{EN DASH}"
COST = {"harness": "its own", "price-table": "from prices", "none": "unknown"}


def table() -> str:
    """Return the table, between its markers."""
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    ours = [it for it in known_specs() if distribution_of(it.name).split()[0] == PROJECT]
    rows += [tuple(_cells(spec)) for spec in ours]
    return BEGIN + "".join(f"| {' | '.join(row)} |\n" for row in rows) + END


def _cells(spec: HarnessSpec) -> Iterator[str]:
    features = spec.capabilities
    yield f"`{spec.name}`"
    yield "✔" if features.can_resume else NO
    yield "✔" if features.can_fork else NO
    yield ", ".join(features.steer_modes) or NO
    yield ", ".join(features.mcp_transports) or NO
    yield NO if features.permissions == "none" else features.permissions
    yield COST[features.cost_source]
    install = spec.program.install if spec.program else None
    if spec.is_synthetic:
        yield "*synthetic* streams"
    elif install is not None:
        yield f"{install.package} {install.version}"
    else:
        yield "the worker's own tests"


def page(text: str) -> str:
    """Return the page with a new table."""
    before, _, rest = text.partition(BEGIN)
    return before + table() + rest.partition(END)[2]


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
