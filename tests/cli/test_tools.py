"""``swarm-worker tools check``, as a person calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import WAIT_S

TOOLS = """
[tools.greet]
description = "Greets."
command = "cat"
input = { type = "object", properties = { name = { type = "string" } }, required = ["name"] }
example = { name = "Ada" }
[tools.fails]
description = "Fails."
command = "false"
example = {}
[tools.silent]
description = "Has no example."
command = "true"
[tools.secret]
description = "Needs a variable."
command = "true"
env = { A = "${NOT_SET_HERE}" }
example = {}
"""


def check(path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_swarm_worker", "tools", "check", str(path), *args],
        env={**os.environ, "NOT_SET_HERE": ""},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tools.toml"
    path.write_text(TOOLS)
    return path


def test_each_tool_is_called_with_its_example(path: Path):
    done = check(path, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    rows = {row["tool"]: row for row in json.loads(done.stdout)}
    assert (rows["greet"]["outcome"], rows["greet"]["text"]) == ("ok", '{"name":"Ada"}')
    assert rows["fails"]["outcome"] == "failed"
    assert rows["silent"]["outcome"] == "not called"
    assert rows["secret"]["text"] == "NOT_SET_HERE is not set"


def test_one_tool_with_other_arguments(path: Path):
    done = check(path, "--tool", "greet", "--arguments", '{"name": "Bob"}')
    assert done.returncode == 0, done.stderr
    assert "greet: ok" in done.stdout
    assert '{"name":"Bob"}' in done.stdout
    done = check(path, "--tool", "greet", "--arguments", '{"name": 7}')
    assert done.returncode == 1
    assert "is not of type 'string'" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (("--tool", "none"), 2, "has no tool 'none'"),
        (("--arguments", "{}"), 2, "--arguments needs --tool"),
        (("--tool", "greet", "--arguments", "[]"), 2, "no JSON object"),
        (("--tool", "greet", "--arguments", "{"), 2, "not JSON"),
    ],
    ids=range(4),
)
def test_wrong_use_is_one_line(path: Path, args: tuple[str, ...], code: int, why: str):
    done = check(path, *args)
    assert (done.returncode, why in done.stderr) == (code, True)
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_used_is_a_fault_of_the_configuration(path: Path):
    path.write_text("[tools.x]\n")
    done = check(path)
    assert done.returncode == 78
    assert "tools.x.description: Field required" in done.stderr
    assert check(path.parent / "none").returncode == 78
