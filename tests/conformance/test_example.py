"""The example provider installs, is found, and keeps the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/echo-agent"
WORKER = [sys.executable, "-m", "agent_swarm_worker.cli.app"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed; nothing is fetched from anywhere."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]
    subprocess.run([*pip, *offline, "--target", str(target), str(EXAMPLE)], check=True)
    path = f"{target / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(target), "PATH": path}


def run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WORKER, *words], env=env, capture_output=True, text=True, check=False, timeout=50
    )


def test_it_keeps_every_promise(installed: dict[str, str]):
    words = ["conformance", "echo", "--json", "--env", f"PYTHONPATH={installed['PYTHONPATH']}"]
    done = run(installed, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(done.stdout)["checks"]
    not_kept = [(check["check"], check["why"]) for check in checks if check["state"] != "kept"]
    # It has no tools that could ask.
    assert {why for _, why in not_kept} == {"it asks for no permission"}
    assert len(checks) > 25


def test_it_is_listed_with_where_it_comes_from(installed: dict[str, str]):
    listed = json.loads(run(installed, "providers", "--json").stdout)
    (echo,) = (row for row in listed if row["name"] == "echo")
    wanted = {"name": "echo", "ready": True, "from": "swarm-worker-echo 0.1.0", "why": ""}
    assert wanted.items() <= echo.items()
    assert echo["status"] == "INSTALLED"


def test_nothing_was_written_next_to_the_example(installed: dict[str, str]):
    assert {path.name for path in EXAMPLE.iterdir()} == {
        "README.md",
        "pyproject.toml",
        "swarm_echo",
    }
