"""The table of results in docs/harnesses.md: every harness, every scenario, and nothing untried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cli_table import CLIS
from scenarios import SCENARIOS

from agent_swarm_worker.providers.registry import known_specs

DOCS = Path(__file__).parents[2] / "docs"
CASES = """
import pytest
scenario = pytest.mark.scenario

@scenario("answer", "dash")
def test_passes(): pass

@scenario("tool")
@pytest.mark.parametrize("good", [True, False, True])
def test_fails_once(good): assert good

@scenario("long")
@pytest.mark.xfail(reason="too long for it")
def test_cannot(): assert False

@scenario("crash")
@pytest.mark.skip(reason="cannot: no process")
def test_has_none(): pass

@scenario("mcp")
@pytest.mark.skip(reason="it is not installed")
def test_is_missing(): pass

@scenario("resume")
@pytest.mark.xfail(reason="it cannot", strict=True)
def test_can_after_all(): pass

def test_of_no_scenario(): pass
"""
CELLS = {
    "answer": ("passed", ""),
    "dash": ("passed", ""),
    "tool": ("failed", ""),
    "long": ("cannot", "too long for it"),
    "crash": ("cannot", "no process"),
    "mcp": ("missing", "it is not installed"),
    "resume": ("failed", ""),
}


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The generator of the table."""
    monkeypatch.syspath_prepend(str(DOCS))
    return import_module("generate_results")


def test_it_has_every_harness_and_every_scenario(results: Any):
    page = (DOCS / "harnesses.md").read_text(encoding="utf-8")
    assert page == results.page(page), "run: python docs/generate_results.py, or make e2e-all"
    inside = page.partition(results.BEGIN)[2].partition(results.END)[0]
    table = [line for line in inside.splitlines() if line.startswith("|")]
    assert table[0] == f"| harness | {' | '.join(SCENARIOS.values())} |"
    assert [line.split(" | ")[0] for line in table[2:]] == [
        f"| {results.label(row)}" for row in results.rows()
    ]


def test_every_harness_is_run(results: Any):
    synthetic = {spec.name for spec in known_specs() if spec.is_synthetic}
    driven = {cli.name for cli in CLIS.values() if not cli.is_variant}
    others = {"acp-opencode", "acp-qwen", "acp-copilot", "acp-grok", "acp-droid", "acp-factory"}
    assert driven - set(results.rows()) == set()
    assert set(results.rows()) - driven - others == synthetic


def test_what_nobody_ran_is_not_said_to_work(results: Any):
    untried = results.block({})
    assert "✔" not in untried
    assert results.SYNTHETIC not in untried
    lines = [line for line in untried.splitlines() if line.startswith("| `claude`")]
    assert lines == [f"| `claude` |{' ✘ |' * len(SCENARIOS)}"]


def test_a_run_makes_the_cells(tmp_path: Path, results: Any):
    folder = tmp_path / "claude"
    folder.mkdir()
    (folder / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = scenario\n")
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"claude": {"429": {"state": "passed", "why": ""}}}))
    env = {"PATH": os.environ["PATH"], "SWARM_E2E_RESULTS": str(file)}
    env["PYTHONPATH"] = str(Path(__file__).parent)
    words = [sys.executable, "-m", "pytest", "-v", "-n", "2", "-p", "results_plugin", str(folder)]

    def ran(**more: str) -> bytes:
        given = {**env, **more}
        done = subprocess.run(words, env=given, cwd=tmp_path, check=False, capture_output=True)
        return done.stdout

    assert b"test_passes" in ran()
    told = json.loads(file.read_text())
    assert {name: tuple(cell.values()) for name, cell in told.pop("claude").items()} == {
        **CELLS,
        "429": ("passed", ""),
    }
    assert told == {}
    again = ran(SWARM_E2E_REST="1")
    assert [
        name for name in (b"test_passes", b"test_cannot", b"test_fails_once") if name in again
    ] == [b"test_fails_once"]


def test_the_page_says_what_the_results_say(results: Any):
    told = {"claude": {name: {"state": cell[0], "why": cell[1]} for name, cell in CELLS.items()}}
    told["amp"] = {"answer": {"state": "passed", "why": ""}}
    page = results.page(results.BEGIN + results.END, told)
    cannot = f"{results.NO}<sup>2</sup>"
    cells = ["✔", "✘", "✘<sup>1</sup>", *["✘"] * 8, cannot]
    assert f"| `claude` | {' | '.join(cells)} |" in page
    assert "\n1. it is not installed\n2. too long for it\n3. no process\n" in page
    assert "| `amp` | *s* | ✘ |" in page
    assert results.page(page) == page, "without a run every cell stays as it is"
