from __future__ import annotations

import pytest
from reporting_doubles import ManualClock, Recorder, WordRedactor

from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.logs import Log
from agent_swarm_worker.reporting.port import SessionInfo
from agent_swarm_worker.reporting.reporter import SessionReporter


@pytest.fixture
def writes():
    return Recorder()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def redactor():
    return WordRedactor()


@pytest.fixture
def journal(tmp_path):
    """A real journal with its metadata line; ``start`` is where uploads begin."""
    path = tmp_path / "session.jsonl"
    start = Journal.begin(path, {"type": "worker_metadata", "prompt": "not to be uploaded"})
    journal = Journal(path)
    journal.start = start
    yield journal
    journal.close()


@pytest.fixture
def make_reporter(writes, clock, redactor, journal):
    def make(**changes):
        parts = {"writes": writes, "clock": clock, "redactor": redactor, "log": Log()}
        parts |= {name: changes.pop(name) for name in tuple(changes) if name in parts}
        facts = {
            "task_id": "task-1",
            "effective_id": "task-1",
            "agent_id": "agent-1",
            "session_uuid": "run-1",
            "iteration": 7,
            "harness": "claude",
            "wire_provider": "claude",
            "log_file": journal.path,
            "metadata_bytes": journal.start,
            "model": "opus",
            "model_source": "task",
        }
        return SessionReporter(SessionInfo(**(facts | changes)), **parts)

    return make


@pytest.fixture
def reporter(make_reporter):
    return make_reporter()
