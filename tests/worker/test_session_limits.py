"""The limits of a session: the worker's, its harness's, its task's."""

from __future__ import annotations

import io
import json

import pytest

from agent_swarm_worker import logs
from agent_swarm_worker.clock import format_duration, parse_duration
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.logs import Log
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.worker.run.watchdog import SessionLimits, limits_of


def limits(*tags: str, harness: str = "claude", **env: str) -> tuple[float, float, list[str]]:
    """The limits of a session, and the tags that were complained of."""
    written = io.StringIO()
    logs.configure(level="debug", human=False, stream=written)
    found = limits_of(Settings.load(env), harness=harness, tags=tags, log=Log())
    assert isinstance(found, SessionLimits)
    complaints = [json.loads(line)["tag"] for line in written.getvalue().splitlines()]
    return found.wall_s, found.silence_s, complaints


def test_the_guard_is_on_by_default_and_patient():
    wall_s, silence_s, _ = limits()
    assert wall_s == 0
    assert silence_s >= 600


@pytest.mark.parametrize(
    "table", ["claude=45m, codex = 2h", '{"claude": "45m", "codex": 7200}', "claude=2700,codex=2h"]
)
def test_a_harness_has_limits_of_its_own(table: str):
    env = {"SWARM_SESSION_SILENCE_BY_HARNESS": table, "SWARM_SESSION_TIMEOUT_BY_HARNESS": table}
    assert limits(harness="claude", **env)[:2] == (2700, 2700)
    assert limits(harness="codex", **env)[:2] == (7200, 7200)
    assert limits(harness="pi", **env)[:2] == (0, 1800)


def test_a_harness_may_be_without():
    env = {"SWARM_SESSION_TIMEOUT_S": "60"}
    table = "claude=off,codex=0"
    env |= {"SWARM_SESSION_SILENCE_BY_HARNESS": table, "SWARM_SESSION_TIMEOUT_BY_HARNESS": table}
    assert limits(harness="claude", **env)[:2] == (0, 0)
    assert limits(harness="codex", **env)[:2] == (0, 0)


@pytest.mark.parametrize(
    "table", ["claude", "=45m", "claude=", "claude=soon", "claude=-1", "[1]", '{"claude": {}}', "{"]
)
def test_a_table_that_cannot_be_read_ends_the_start(table: str):
    with pytest.raises(BadSetting) as caught:
        Settings.load({"SWARM_SESSION_SILENCE_BY_HARNESS": table})
    assert caught.value.name == "SWARM_SESSION_SILENCE_BY_HARNESS"


def test_a_task_has_the_last_word():
    assert limits("timeout:45m", "silence:15m") == (2700, 900, [])
    assert limits("urgent", "Timeout: 90", "silence:1h30m") == (90, 5400, [])
    env = {"SWARM_SESSION_SILENCE_BY_HARNESS": "claude=10m"}
    assert limits("silence:20m", **env)[1] == 1200
    # The last one counts: a follow-up's own tag comes behind what it inherits.
    assert limits("timeout:1h", "timeout:2h")[0] == 7200


def test_a_task_cannot_switch_the_guard_off():
    for tag in ("silence:off", "silence:0", "silence:100h"):
        assert limits(tag)[1:] == (14_400, [tag])
        assert limits(tag, SWARM_TASK_LIMIT_MAX_S="60")[1:] == (1800, [tag])
    assert limits("timeout:9h", SWARM_SESSION_TIMEOUT_S="60") == (14_400, 1800, ["timeout:9h"])
    # What the operator lets every session have, a task need not do without.
    assert limits("timeout:9h") == (32_400, 1800, [])
    assert limits("timeout:9h", SWARM_SESSION_TIMEOUT_S="36000")[0] == 32_400


def test_unless_the_operator_allows_it():
    assert limits("silence:off", "timeout:off", SWARM_TASK_LIMIT_MAX_S="0") == (0, 0, [])


@pytest.mark.parametrize(
    "tag", ["timeout:", "timeout:soon", "timeout:-5m", "timeout:5d", "timeout:1e9", "timeout:٣m"]
)
def test_nonsense_is_passed_over_and_said(tag: str):
    assert limits(tag, "timeout") == (0, 1800, [tag])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5", 1.5),
        ("45m", 2700),
        ("2H", 7200),
        (" 1h 30m ", 5400),
        ("1h2m3s", 3723),
        ("0", 0),
        ("off", 0),
        ("None", 0),
    ],
)
def test_durations_as_people_write_them(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (90, "90 s"),
        (119.96, "120 s"),
        (120, "2 min"),
        (900, "15 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86_399, "24 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str):
    assert format_duration(seconds) == words
