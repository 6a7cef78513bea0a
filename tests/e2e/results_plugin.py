"""Collect the results of the scenarios in a file: the plugin of `make e2e-all`.

``SWARM_E2E_RESULTS`` names it. What an earlier run has put there stays where this one has nothing;
with ``SWARM_E2E_REST`` only that is run which has no result yet, or failed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenarios import SCENARIOS, STATES

RESULTS = Path(os.environ["SWARM_E2E_RESULTS"])
CHECKS = {
    "a-long-prompt-arrives-whole": "long",
    "an-abort-ends-it-and-all-it-started": "cancel",
    "no-made-up-session-can-be-resumed": "lost",
}
"""Checks of the contract that are a scenario, for harnesses that are tested with nothing else."""


def cells_of(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Yield the harness and the scenarios that a test is about."""
    params = (getattr(item, "callspec", None) and item.callspec.params) or {}
    if cli := params.get("cli"):
        if cli.is_variant:
            return
        row = cli.name
    else:
        row = params.get("harness") or item.path.parent.name
    for marker in item.iter_markers("scenario"):
        for scenario in marker.args:
            assert scenario in SCENARIOS, f"{item.nodeid}: {scenario}"
            yield row, scenario
    if scenario := CHECKS.get(str(params.get("check"))):
        yield row, scenario


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for item in tuple(items):
        cells = list(cells_of(item))
        item.user_properties.append(("cells", cells))
        states = [known.get(row, {}).get(scenario, {}).get("state") for row, scenario in cells]
        if os.environ.get("SWARM_E2E_REST") and cells and set(states) <= {"passed", "cannot"}:
            items.remove(item)


def state_of(report: pytest.TestReport) -> tuple[str, str] | None:
    """Return a state and its reason; ``None`` for a phase that tells nothing."""
    if report.failed:
        return "failed", ""
    if report.skipped:
        if why := getattr(report, "wasxfail", ""):
            return "cannot", why.removeprefix("reason: ")
        why = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
        why = why.removeprefix("Skipped: ")
        if why.startswith("cannot: "):
            return "cannot", why.removeprefix("cannot: ")
        return "missing", why
    return ("passed", "") if report.when == "call" else None


class Collector:
    """Writes each result at once: a run of an hour may be interrupted."""

    def __init__(self) -> None:
        self._run: dict[tuple[str, str], str] = {}
        """The states of this run; of several tests in one cell the worst counts."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = state_of(report)
        cells = dict(report.user_properties).get("cells", ())
        if found is None or not cells:
            return
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        for row, scenario in cells:
            before = self._run.get((row, scenario), STATES[0])
            if STATES.index(found[0]) >= STATES.index(before):
                self._run[row, scenario] = found[0]
                results.setdefault(row, {})[scenario] = {"state": found[0], "why": found[1]}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the process that hears of all tests
        config.pluginmanager.register(Collector())
