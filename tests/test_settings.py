"""Every variable: its default, its bounds, what is said of a value that cannot be used."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.settings import Settings, default_agent_name, variables

DOCS = Path(__file__).parent.parent / "docs"
ALL = {name for names in variables().values() for name in names}
FLAGS = ["yolo", "scripts_only_mcp", "slack_disable", "steering_enabled"]


def load(**env: str) -> Settings:
    return Settings.load(env)


# --- bounds
@pytest.mark.parametrize(
    ("variable", "field", "good", "bad"),
    [
        ("PORT", "port", ["1", "65535"], ["0", "65536", "x", "80.5"]),
        ("SWARM_API_TIMEOUT_S", "api_timeout_s", ["0.1", "600"], ["0", "601", "nan", "inf", "x"]),
        ("WORKER_API_READY_TIMEOUT_SECONDS", "api_ready_timeout_s", ["1", "86400"], ["0", "86401"]),
        ("MAX_CONCURRENT_TASKS", "max_concurrent_tasks", ["1", "1000"], ["0", "1001", "-1", "x"]),
        ("CONTEXT_PREAMBLE_MAX_TOKENS", "context_preamble_max_tokens", ["1"], ["0", "x"]),
        (
            "CONTEXT_PREAMBLE_RESUME_MAX_TOKENS",
            "context_preamble_resume_max_tokens",
            ["1"],
            ["0", "x"],
        ),
        ("SWARM_POLL_INTERVAL_S", "poll_interval_s", ["0.01", "300"], ["0", "300.1", "nan"]),
        ("SWARM_HEARTBEAT_INTERVAL_S", "heartbeat_interval_s", ["0.01", "60"], ["0", "61"]),
        ("SWARM_CANCEL_CHECK_INTERVAL_S", "cancel_check_interval_s", ["0.01", "60"], ["0", "61"]),
        ("SWARM_RECONFIGURE_INTERVAL_S", "reconfigure_interval_s", ["0.01", "3600"], ["0", "3601"]),
        ("SWARM_EVENTS_FLUSH_INTERVAL_S", "events_flush_interval_s", ["0.01", "60"], ["0", "61"]),
        ("SWARM_LOG_FLUSH_INTERVAL_S", "log_flush_interval_s", ["0.01", "60"], ["0", "61"]),
        ("SHUTDOWN_TIMEOUT", "shutdown_timeout_ms", ["0", "86400000"], ["-1", "86400001", "25s"]),
        ("BOOT_INITIAL_BACKOFF_MS", "boot_initial_backoff_ms", ["1"], ["0", "x"]),
        ("BOOT_MAX_BACKOFF_MS", "boot_max_backoff_ms", ["1"], ["0", "x"]),
        ("BOOT_MAX_WAIT_SECONDS", "boot_max_wait_s", ["0", "1"], ["-1", "x"]),
        ("SWARM_SESSION_TIMEOUT_S", "session_timeout_s", ["0", "1.5"], ["-1", "nan", "x"]),
        ("SWARM_SESSION_SILENCE_S", "session_silence_s", ["0", "1.5"], ["-1", "nan", "x"]),
        ("SWARM_RESULT_GRACE_S", "result_grace_s", ["0.1", "3600"], ["0", "3601"]),
        ("AGENT_ROLE", "agent_role", ["worker", "lead"], ["boss", "Worker"]),
        (
            "HARNESS_OUTPUT",
            "harness_output",
            ["auto", "stream-json", "jsonl", "text"],
            ["json", "Text"],
        ),
        ("RESUME_MODE", "resume_mode", ["auto", "native", "preamble"], ["never"]),
        (
            "REASONING_EFFORT_OVERRIDE",
            "reasoning_effort_override",
            ["off", "low", "medium", "high", "xhigh", "max"],
            ["higher", "0"],
        ),
        ("SWARM_LOG_LEVEL", "log_level", ["debug", "info", "warning", "error"], ["trace"]),
        ("SWARM_LOG_FORMAT", "log_format", ["auto", "human", "json"], ["xml"]),
    ],
)
def test_bounds(variable: str, field: str, good: list[str], bad: list[str]):
    for value in good:
        assert str(getattr(load(**{variable: value}), field)) in {value, f"{value}.0"}
    for value in bad:
        with pytest.raises(BadSetting) as caught:
            load(**{variable: value})
        assert (caught.value.name, caught.value.value) == (variable, value)
        assert str(caught.value).startswith(f"{variable}={value!r} cannot be used: ")
        assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("PORT", "x", "input should be a valid integer, unable to parse string as an integer"),
        ("PORT", "70000", "input should be less than or equal to 65535"),
        ("AGENT_ROLE", "boss", "input should be 'worker' or 'lead'"),
        (
            "REASONING_EFFORT_OVERRIDE",
            "huge",
            "expected one of off, low, medium, high, xhigh, max",
        ),
    ],
)
def test_what_is_said_of_a_bad_value(variable: str, value: str, why: str):
    with pytest.raises(BadSetting) as caught:
        load(**{variable: value})
    assert caught.value.why == why


def test_the_defaults_are_the_public_workers():
    settings = load()
    assert settings.api_url == "http://localhost:3013"
    assert settings.api_key == ""
    assert (settings.slots("worker"), settings.slots("lead")) == (1, 2)
    assert settings.api_ready_timeout_s == 90
    assert (settings.boot_initial_backoff_ms, settings.boot_max_backoff_ms) == (2000, 30_000)
    assert settings.boot_max_wait_s == 0
    assert settings.context_preamble_max_tokens == 2000
    assert settings.context_preamble_resume_max_tokens == 4000
    assert settings.drain_s == 25
    assert load(MAX_CONCURRENT_TASKS="5").slots("lead") == 5


# --- blank values
@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_value_counts_as_none(blank: str):
    for name in ALL - {"AGENT_SWARM_API_KEY"}:
        assert load(**{name: blank}) == load(), name


def test_a_blank_name_gives_way_to_the_older_one():
    assert load(APP_URL="", DASHBOARD_URL="http://old").app_url == "http://old"
    assert load(APP_URL="http://new", DASHBOARD_URL="http://old").app_url == "http://new"


# --- the key and the address
@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"API_KEY": "plain"}, "plain"),
        ({"AGENT_SWARM_API_KEY": "own"}, "own"),
        ({"AGENT_SWARM_API_KEY": "own", "API_KEY": "plain"}, "own"),
        # Empty is an answer: this worker has no key, whatever else is set.
        ({"AGENT_SWARM_API_KEY": "", "API_KEY": "plain"}, ""),
        ({"API_KEY": ""}, ""),
        ({}, ""),
    ],
)
def test_the_api_key(env: dict[str, str], key: str):
    assert load(**env).api_key == key


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"PORT": "4000"}, "http://localhost:4000"),
        ({"MCP_BASE_URL": "https://swarm/", "PORT": "4000"}, "https://swarm"),
        ({"MCP_BASE_URL": " http://swarm:1// "}, "http://swarm:1"),
        ({"MCP_BASE_URL": ""}, "http://localhost:3013"),
    ],
)
def test_the_address(env: dict[str, str], url: str):
    assert load(**env).api_url == url


# --- switches and lists
@pytest.mark.parametrize("field", FLAGS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("1", True), (" TRUE ", True), ("false", False), ("0", False)]
    # What is neither leaves the default.
    + [(value, False) for value in ("yes", "on", "2", "tru", "no")],
)
def test_switches(field: str, value: str, expected: bool):
    (name,) = variables()[field]
    assert getattr(load(**{name: value}), field) is expected


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("0", False), ("maybe", None), ("", None)]
)
def test_a_switch_with_three_positions(value: str, expected: bool | None):
    assert load(SWARM_SYNC_SKILLS=value).sync_skills is expected


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("true", False), ("yes", False), ("0", False), ("", False)]
)
def test_only_1_turns_the_credential_check_off(value: str, expected: bool):
    assert load(CRED_CHECK_DISABLE=value).cred_check_disable is expected


def test_lists_are_split_at_commas():
    assert load(CAPABILITIES=" a, b c ,,d,").capabilities == ("a", "b c", "d")
    assert load(CAPABILITIES=",").capabilities == ()


def test_slack_needs_both_tokens_and_no_veto():
    both = {"SLACK_BOT_TOKEN": "x", "SLACK_APP_TOKEN": "y"}
    assert load(**both).slack_enabled
    assert not load(SLACK_BOT_TOKEN="x").slack_enabled
    assert not load(**both, SLACK_DISABLE="true").slack_enabled


@pytest.mark.parametrize(("value", "human"), [("auto", None), ("human", True), ("json", False)])
def test_who_the_log_is_for(value: str, human: bool | None):
    assert load(SWARM_LOG_FORMAT=value).human_logs is human


# --- where things lie
def test_the_state_directory(tmp_path: Path):
    home = {"HOME": str(tmp_path), "SWARM_WORKSPACE_DIR": str(tmp_path / "workspace")}
    assert load(**home).state_root() == tmp_path / ".local/state/swarm-worker"
    xdg = {**home, "XDG_STATE_HOME": str(tmp_path / "xdg")}
    assert load(**xdg).state_root() == tmp_path / "xdg/swarm-worker"
    (tmp_path / "workspace/personal").mkdir(parents=True)
    assert load(**xdg).state_root() == tmp_path / "workspace/personal/.swarm-worker"
    assert load(**xdg, SWARM_STATE_DIR="/elsewhere").state_root() == Path("/elsewhere")


def test_an_agent_without_a_name_gets_one():
    assert default_agent_name("lead", "12345678-9abc") == "lead-12345678"
    assert default_agent_name("worker", "").startswith("worker-")


# --- everything is documented
@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generator", DOCS / "generate_configuration.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_generator_writes(generator: ModuleType):
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == generator.page(), "run: python docs/generate_configuration.py"


def test_every_variable_is_on_the_page_with_a_text(generator: ModuleType):
    rows = [line.split(" | ") for line in generator.page().splitlines() if line.startswith("| `")]
    texts = {
        name.strip("`|, "): row[-1].rstrip(" |") for row in rows for name in row[0].split(", ")
    }
    assert set(texts) == ALL
    for name, text in texts.items():
        assert len(text) > 10, f"{name} has no docstring"
