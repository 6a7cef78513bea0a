"""The exception tree equals the one in its docstring."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from agent_swarm_worker import errors
from agent_swarm_worker.errors import SwarmWorkerError

CLASSES = {
    name: value
    for name, value in inspect.getmembers(errors, inspect.isclass)
    if value.__module__ == errors.__name__
}


def drawn() -> dict[str, tuple[str | None, int]]:
    """Read the drawing: for each name its parent and the exit code at or above it."""
    found: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)([A-Z]\w+)( +exit (\d+))?( +.+)?", line)
        if match:
            assert match[5] or not path, f"{match[2]} is not described"
            depth = len(match[1]) // 4
            del path[depth:]
            parent = path[-1] if path else None
            inherited = found[parent][1] if parent else 1
            found[match[2]] = (parent, int(match[4]) if match[4] else inherited)
            path.append(match[2])
    return found


def test_the_drawing_is_the_tree():
    real = {
        name: (None if cls is SwarmWorkerError else cls.__base__.__name__, cls.exit_code)
        for name, cls in CLASSES.items()
    }
    assert drawn() == real


def test_messages_name_what_the_operator_has_to_look_at():
    assert str(errors.BadSetting("PORT", "x", "no number")) == "PORT='x' cannot be used: no number"
    locked = errors.StateLocked(Path("/state"), 7)
    assert str(locked) == "state directory /state is in use by process 7"
    assert "SWARM_STATE_DIR" in locked.advice
    assert "another process" in str(errors.StateLocked(Path("/state"), None))
    assert "pip install 'agent-swarm-worker[local]'" in errors.MissingExtra("x", "local").advice


@pytest.mark.parametrize(("status", "expected"), [(500, True), (429, True), (404, False)])
def test_whose_fault_a_refusal_is(status: int, expected: bool):
    assert errors.ApiRefused("http://x", status, "no").is_server_fault is expected
