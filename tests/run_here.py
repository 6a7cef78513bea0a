"""Run a command of the worker in the test's process, which saves half a second of imports."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from agent_swarm_worker import logs
from agent_swarm_worker.cli.app import main

PLAIN = {
    "MCP_BASE_URL": "http://127.0.0.1:9",
    "HARNESS_PROVIDER": "subprocess",
    "HARNESS_COMMAND": "true",
}


def run_here(
    *words: str,
    env: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, list[str]]:
    """Return the exit code of a command that ends by itself, and the lines of standard error."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "environ", {"PATH": os.environ["PATH"], **PLAIN, **env})
        code = main(words)
    logs.reset()
    return code, capsys.readouterr().err.strip().splitlines()
