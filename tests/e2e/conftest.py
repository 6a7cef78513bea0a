"""Make the worker's rig and the fake model importable here; one test per harness and scenario."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
for _folder in (_TESTS / "worker", _TESTS / "providers/pi"):
    sys.path.insert(0, str(_folder))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a `cli` with each; a scenario that fails with one has to fail still."""
    if "cli" not in metafunc.fixturenames:
        return
    from cli_table import CLIS
    from scenarios import MORE_SCENARIOS

    (marker,) = metafunc.definition.iter_markers("scenario")
    scenario, cases = marker.args[0], []
    for cli in CLIS.values():
        marks = []
        if scenario in MORE_SCENARIOS.difference(cli.quick) or not cli.is_pinned:
            marks.append(pytest.mark.more)
        if why := cli.cannot.get(scenario):
            marks.append(pytest.mark.xfail(reason=why))
        if why := cli.has_no.get(scenario):
            marks.append(pytest.mark.skip(reason=f"cannot: {why}"))
        elif why := cli.missing():
            marks.append(pytest.mark.skip(reason=why))
        cases.append(pytest.param(cli, id=cli.name, marks=marks))
    metafunc.parametrize("cli", cases, scope="module")
