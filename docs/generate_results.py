"""Renew the table of results in ``harnesses.md``: ``generate_results.py [RESULTS]``.

RESULTS is what a run of `make e2e-all` wrote. Without it each cell stays as it is; a harness or a
scenario that the page does not have yet is one that nobody ran.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generate_harnesses import NO, PROJECT, TARGET

from agent_swarm_worker.providers.acp.targets import TARGETS
from agent_swarm_worker.providers.registry import distribution_of, known_specs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/e2e"))
from scenarios import SCENARIOS

if TYPE_CHECKING:
    from agent_swarm_worker.contract import HarnessSpec

BEGIN = "<!-- Made by a run of make e2e-all (docs/generate_results.py); do not edit. -->\n"
END = "<!-- end of the results -->\n"
SYMBOLS = {"passed": "✔", "cannot": NO, "missing": "✘", "failed": "✘"}
SYNTHETIC = "*s*"

Results = dict[str, dict[str, dict[str, Any]]]


def rows() -> list[str]:
    """Return all harnesses, those of ``acp`` behind it."""
    ours = (it.name for it in known_specs() if distribution_of(it.name).split()[0] == PROJECT)
    found = []
    for name in ours:
        found.append(name)
        if name == "acp":
            found += [f"acp-{target}" for target in TARGETS if target != "custom"]
    return found


def label(row: str) -> str:
    """Return how a row begins."""
    target = row.removeprefix("acp-")
    return f"`{row}`" if target == row else f"`acp` {target}"


def block(results: Results) -> str:
    """Return the table and its notes, between their markers."""
    specs = {spec.name: spec for spec in known_specs() if spec.is_synthetic}
    notes: dict[str, int] = {}
    lines = [("harness", *SCENARIOS.values()), ("---",) * (len(SCENARIOS) + 1)]
    for row in rows():
        known = {**_impossible(specs.get(row)), **results.get(row, {})}
        cells = (_cell(known.get(name), row in specs, notes) for name in SCENARIOS)
        lines.append((label(row), *cells))
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    told = "".join(f"{number}. {why}\n" for why, number in notes.items())
    return f"{BEGIN}{table}\n{told}{END}"


def _impossible(spec: HarnessSpec | None) -> dict[str, dict[str, Any]]:
    """Return the scenarios that a harness that cannot be run does not have by its description."""
    if spec is None:
        return {}
    names = () if spec.capabilities.can_resume else ("resume", "lost")
    names += () if spec.capabilities.mcp_transports else ("mcp",)
    why = "not by its vendor's description"
    return {name: {"state": "cannot", "why": why} for name in names}


def _cell(cell: dict[str, Any] | None, is_synthetic: bool, notes: dict[str, int]) -> str:
    if cell is None:
        return SYMBOLS["missing"]
    symbol = SYMBOLS[cell["state"]]
    if is_synthetic and cell["state"] == "passed":
        symbol = SYNTHETIC
    if not cell["why"]:
        return symbol
    return f"{symbol}<sup>{notes.setdefault(cell['why'], len(notes) + 1)}</sup>"


def written(text: str) -> Results:
    """Return the results that a page shows."""
    inside = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    table = [line.strip("| ").split(" | ") for line in inside if line.startswith("|")]
    numbered = (line.partition(". ") for line in inside if line[:1].isdigit())
    notes = {number: why for number, _, why in numbered}
    names = {head: name for name, head in SCENARIOS.items()}
    known = {label(row): row for row in rows()}
    states = {symbol: state for state, symbol in SYMBOLS.items() if state != "failed"}
    states[SYNTHETIC] = "passed"
    results: Results = {}
    for first, *cells in table[2:]:
        for head, cell in zip(table[0][1:], cells, strict=True):
            symbol, _, note = cell.partition("<sup>")
            if first in known and head in names:
                result = {"state": states[symbol], "why": notes.get(note.partition("<")[0], "")}
                results.setdefault(known[first], {})[names[head]] = result
    return results


def page(text: str, results: Results | None = None) -> str:
    """Return the page with a new table."""
    before, _, rest = text.partition(BEGIN)
    return before + block(written(text) if results is None else results) + rest.partition(END)[2]


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")) if sys.argv[1:] else None
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8"), given), encoding="utf-8")
