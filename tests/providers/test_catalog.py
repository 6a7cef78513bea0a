"""The model catalogue: the vendors' values, and the overrides of a harness."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agent_swarm_worker.contract import Models
from agent_swarm_worker.providers.catalog import (
    context_window,
    effort_levels,
    lowered_effort,
    rows,
)
from agent_swarm_worker.providers.registry import known_specs, spec_of
from agent_swarm_worker.settings import EFFORTS, TIERS

E2E = Path(__file__).parents[1] / "e2e"


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        # Settled against Anthropic's model pages; three tables had contradicted each other.
        ("claude-opus-4-6", 1_000_000),
        ("claude-sonnet-4-6", 1_000_000),
        ("claude-opus-4-5-20251101", 200_000),
        ("claude-sonnet-4-5-20250929", 200_000),
        # What they had agreed on.
        ("opus", 1_000_000),
        ("sonnet", 1_000_000),
        ("fable", 1_000_000),
        ("mythos", 1_000_000),
        ("haiku", 200_000),
        ("claude-opus-5", 1_000_000),
        ("claude-opus-5-5", 1_000_000),
        ("claude-haiku-5-5", 1_000_000),
        ("claude-opus-4-7", 1_000_000),
        ("anthropic/claude-opus-4.8", 1_000_000),
        ("anthropic/claude-fable-5", 1_000_000),
        ("us.anthropic.claude-opus-4-8-20260101-v1:0", 1_000_000),
        ("sonnet[1m]", 1_000_000),
        ("claude-opus-4-1-20250805", 200_000),
        ("claude-opus-4-20250514", 200_000),
        ("claude-sonnet-4-0", 200_000),
        ("claude-haiku-4-5", 200_000),
        ("claude-3-5-sonnet-20241022", 200_000),
        # A made-up number would show a wrong percentage.
        ("gpt-5.6-sol", None),
        ("openrouter/google/gemini-3-pro", None),
        ("claude-nonsense", None),
        ("", None),
    ],
)
def test_the_window_of_a_model(model: str, tokens: int | None):
    assert context_window(model) == tokens


@pytest.mark.parametrize(
    ("harness", "model", "tokens"),
    [
        # Claude Code gives these two less than the vendor does, unless it is asked for more.
        ("claude", "claude-opus-4-6", 200_000),
        ("claude", "claude-opus-4-6[1m]", 1_000_000),
        ("claude", "claude-opus-4-8", 1_000_000),
        ("pi", "claude-opus-4.6", 1_000_000),
        ("subprocess", "claude-opus-4-6", 1_000_000),
        ("codex", "gpt-5.6-sol", None),
    ],
)
def test_a_harness_may_give_a_model_another_window(harness: str, model: str, tokens: int | None):
    assert context_window(model, spec_of(harness).models) == tokens


def test_a_harness_with_models_of_its_own_needs_no_catalogue():
    own = Models(windows=((r"^owl", 7),), uses_catalog=False)
    assert context_window("birds/Owl-2", own) == 7
    assert context_window("claude-opus-5", own) is None


def test_every_row_says_where_it_comes_from():
    assert len(rows()) > 10
    for row in rows():
        assert len(row.source) > 20, row
        assert row.window or row.efforts, row
        assert set(row.efforts or ()) <= set(EFFORTS)


@pytest.mark.parametrize(
    ("level", "levels", "got"),
    [
        ("max", ("low", "high"), "high"),
        ("off", ("low",), None),
        ("off", ("off", "low"), "off"),
        ("low", ("high",), None),
        ("nonsense", ("low",), None),
    ],
)
def test_an_effort_is_lowered_to_what_there_is(level: str, levels: tuple[str, ...], got: str):
    assert lowered_effort(level, levels) == got


def test_the_efforts_of_a_model_nobody_knows_are_not_known():
    assert effort_levels("owl-9") is None


# --- the specs of ours
@pytest.mark.parametrize("spec", known_specs(), ids=lambda spec: spec.name)
def test_tiers_are_tiers(spec):
    assert set(spec.models.tiers) <= set(TIERS)
    assert all(re.fullmatch(r"\S+", model) for model in spec.models.tiers.values())


def test_what_is_tested_is_what_the_specs_say_is_to_be_installed():
    pinned = json.loads((E2E / "package.json").read_text())["dependencies"]
    programs = [spec.program for spec in known_specs() if spec.program]
    installs = [program.install for program in programs if program.install]
    wanted = {it.package: it.version for it in installs if it.tool == "npm"}
    assert pinned.items() <= wanted.items()
    assert len(pinned) >= 7


def test_what_is_in_the_image_is_what_the_specs_say_is_to_be_installed():
    table = (Path(__file__).parents[2] / ".docker" / "harnesses.txt").read_text()
    rows = [line.split() for line in table.splitlines() if line and not line.startswith("#")]
    wanted = {
        spec.name: [spec.program.name, spec.program.install.package, spec.program.install.version]
        for spec in known_specs()
        if spec.program and spec.program.install and not spec.is_synthetic
    }
    wanted.pop("factory")  # another name of droid
    assert {name: columns[:3] for name, *columns in rows} == wanted
    assert wanted
