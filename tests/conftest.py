"""Configuration of all tests."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from agent_swarm_worker import logs

# Without randomness, so that a failure can be repeated; and nothing written into the tree.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"hypothesis-{os.getuid()}")
settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    # SWARM_TEST_EXAMPLES=20 looks twenty times as far, for a search of some minutes.
    max_examples=60 * int(os.environ.get("SWARM_TEST_EXAMPLES", "1")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


LONG = (
    "canary/",
    "cli/test_demo.py",
    "conformance/",
    "container/",
    "e2e/test_conformance_of_clis.py",
    "e2e/test_delegation.py",
    "hostile/deep/",
    "hostile/test_local_fuzz.py",
    "hostile/test_worker_fuzzed.py",
    "credentials/test_codex_worker.py",
    "credentials/test_login_command.py",
    "credentials/test_refresh.py",
    "long_figures/",
    "model/test_model_deep.py",
    "providers/claude_managed/test_managed_conformance.py",
    "providers/devin/test_devin_conformance.py",
    "providers/devin/test_vendor_workers.py",
    "providers/pi/test_pi_compaction.py",
    "providers/pi/test_pi_failures.py",
    "providers/pi/test_pi_resume.py",
    "providers/pi/test_pi_worker.py",
    "worker/drain_matrix/",
    "worker/test_shutdown_moments.py",
    "worker/test_credential_wait.py",
    "worker/test_hostile_api.py",
    "worker/test_older_server.py",
    "worker/test_output_modes.py",
    "worker/test_session_skills.py",
)
"""Suites that start a program for each test, or go deeper; `make test-long` runs them."""


@cache
def _is_long(path: Path) -> bool:
    return path.relative_to(Path(__file__).parent).as_posix().startswith(LONG)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave unread what `make test` deselects: each of its processes would import it."""
    return ("not long" in config.option.markexpr and _is_long(collection_path)) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_long(item.path):
            item.add_marker(pytest.mark.long)


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over thousands of tests that stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, like the worker."""
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def _hang_ups_count() -> None:
    """Undo what ``nohup`` does: what it starts, and what that starts, ignores SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that sets logging up, as the commands do, leaves none of it to the next."""
    yield
    logs.reset()
