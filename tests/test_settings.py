"""Each variable: its default, its bounds, and the message for an invalid value."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import structlog

import agent_swarm_worker as package
from agent_swarm_worker.api.wire.resources import ConfigRow
from agent_swarm_worker.cli.view import TerminalSettings
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.guards.child_env import ChildEnvSettings
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.guards.tokens import TokenizerSettings
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.claude.spec import ClaudeOptions
from agent_swarm_worker.providers.codex.spec import CodexOptions
from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.providers.registry import installed_options, supported_providers
from agent_swarm_worker.providers.subprocess.spec import SubprocessOptions
from agent_swarm_worker.settings import (
    Effect,
    HarnessOptions,
    Settings,
    SettingsModel,
    default_agent_name,
)
from agent_swarm_worker.worker.boot.environment import Environment

DOCS = Path(__file__).parent.parent / "docs"
ALL = {name for names in Settings.variables().values() for name in names}
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
        ("AGENT_ROLE", "agent_role", ["worker", "lead", "coder", "R" * 100], ["R" * 101, "a\nb"]),
        ("RESUME_MODE", "resume_mode", ["auto", "native", "fork", "preamble"], ["never"]),
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
        ("AGENT_ROLE", "a\x1bb", "control characters cannot be part of a role"),
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
    (name,) = Settings.variables()[field]
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


@pytest.mark.parametrize(
    ("value", "role"),
    [("LEAD", "lead"), (" Worker ", "worker"), ("Code Reviewer", "Code Reviewer"), ("", "worker")],
)
def test_a_role_is_as_given_and_the_two_known_ones_in_any_case(value: str, role: str):
    assert load(AGENT_ROLE=value).agent_role == role


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
    every = {
        name
        for model in all_models()
        for declared in model.declarations().values()
        for name in declared.names
    }
    assert set(texts) == every
    for name, text in texts.items():
        assert len(text.removeprefix("*live*. ")) > 10, f"{name} has no docstring"


def test_every_model_is_asked_for_the_page(generator: ModuleType):
    assert all_models() <= set(generator.models())


# --- every model, the harnesses' and the small ones included
def all_models() -> set[type[SettingsModel]]:
    """Every model that is declared in the package, whoever uses it."""
    root = Path(package.__path__[0])
    found = set()
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "SettingsModel" not in text and "HarnessOptions" not in text:
            continue
        place = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for value in vars(import_module(place.removesuffix(".__init__"))).values():
            if isinstance(value, type) and issubclass(value, SettingsModel):
                found.add(value)
    return found - {SettingsModel}


def test_the_models_are_found():
    assert {Settings, PiOptions, CodexOptions, TerminalSettings} <= all_models()


def test_nothing_is_read_but_the_mapping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ".env").write_text("PORT=4001\nPI_MAX_STEPS=4001\n")
    (tmp_path / "PORT").write_text("4002")
    monkeypatch.chdir(tmp_path)
    for model in all_models():
        for declared in model.declarations().values():
            for name in declared.names:
                monkeypatch.setenv(name, "4003")
    for model in all_models():
        assert model() == model.load({}), model
    assert Settings().port == Settings.load({}).port == 3013
    assert PiOptions().max_steps == PiOptions.load({}).max_steps == 500
    assert Settings.load({"PORT": "4004"}).port == 4004


def test_what_is_called_like_an_argument_of_the_library_is_only_a_variable():
    for name in ("_env_file", "_cli_parse_args", "_build_sources", "__pydantic_self__", "self"):
        assert Settings.load({name: "x", "PORT": "4004"}).port == 4004


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_value_counts_as_none_in_every_model(blank: str):
    for model in all_models():
        for declared in model.declarations().values():
            for name in declared.names:
                if not declared.keeps_blank:
                    assert model.load({name: blank}) == model.load({}), name


def test_a_blank_value_counts_where_a_field_says_so():
    assert TokenizerSettings.load({"TIKTOKEN_CACHE_DIR": ""}).cache_dir == ""
    assert TokenizerSettings.load({"DATA_GYM_CACHE_DIR": "/x"}).cache_dir == "/x"
    assert TokenizerSettings.load({}).cache_dir is None


def test_each_field_says_when_a_row_takes_effect():
    assert Settings.declarations()["port"].effect is Effect.OPERATOR
    assert Settings.declarations()["log_level"].effect is Effect.BOOT
    assert Settings.declarations()["agent_name"].effect is Effect.LIVE
    harnesses = [model for model in all_models() if issubclass(model, HarnessOptions)]
    effects = {it.effect for model in harnesses for it in model.declarations().values()}
    assert effects == {Effect.LIVE, Effect.OPERATOR}, "a session's environment has the rows"


GUARDS = re.compile(
    r"SANDBOX|PROFILE|PERMISSION|POLICY|APPROV|SECRET_NAMES|NOT_SECRET|PASS_ENV|OTEL|ISSUER"
    r"|MAILBOX|PROXY|(^|_)CA_|(^|_)CERT|^GIT_|_ALLOW_|PROTOCOL|^AGENT_(ID|ROLE)$|^(AGENT_SWARM_)?API_KEY$"
    r"|(^|_)(BIND|DIR|FILE|HOME|HOST|LISTEN|PORT|ROOTS|SOCKET|(SETUP|CLEANUP)_COMMAND)$"
)
"""Names of settings that guard the operator, those that are yet to be added included."""
NO_GUARDS = {"AWS_PROFILE"}


def declared_effects() -> list[tuple[str, Effect]]:
    return sorted(
        (name, declared.effect)
        for model in all_models()
        for declared in model.declarations().values()
        for name in declared.names
    )


def test_what_guards_the_operator_is_declared_so():
    lax = {
        name
        for name, effect in declared_effects()
        if effect is not Effect.OPERATOR and GUARDS.search(name) and name not in NO_GUARDS
    }
    assert not lax, "declare them with `operator_only`"


def test_all_models_agree_on_what_is_the_operators():
    effects: dict[str, set[bool]] = {}
    for name, effect in declared_effects():
        effects.setdefault(name, set()).add(effect is Effect.OPERATOR)
    assert [name for name, found in effects.items() if len(found) > 1] == []


def test_no_row_sets_what_is_the_operators_and_rows_set_everything_else():
    """Every variable of every model, in both cases; 1 can be used by most of them."""
    taken, refused = set(), set()
    for name, effect in declared_effects():
        for spelt in (name, name.lower()):
            env = Environment({}, scrubber=Scrubber(), log=Log())
            with structlog.testing.capture_logs() as logged:
                env.apply([ConfigRow(key=spelt, value="1")])
            why = [line["why"] for line in logged if line["event"] == Event.CONFIG_IGNORED]
            if effect is Effect.OPERATOR:
                assert (env.values(), env.settings) == ({}, Settings.load({})), spelt
                assert why == ["only the operator sets this variable"], spelt
                refused.add(name)
            else:
                assert (env.values() == {spelt: "1"}) is not any(why), spelt
                taken |= {name} if not why else set()
    assert {"SWARM_PASS_ENV", "PI_EXTRA_ROOTS", "TIKTOKEN_CACHE_DIR", "PORT"} <= refused
    assert {"MODEL_OVERRIDE", "CLAUDE_BINARY", "GITHUB_TOKEN", "TEMPLATE_ID"} <= taken


def test_the_page_says_what_is_the_operators(generator: ModuleType):
    rows = [line for line in generator.page().splitlines() if line.startswith("| `")]
    marked = {
        name.strip("`|, ")
        for row in rows
        if "*operator only" in row
        for name in row.split(" | ")[0].split(", ")
    }
    assert marked == {name for name, effect in declared_effects() if effect is Effect.OPERATOR}


# --- harnesses
@pytest.mark.parametrize(
    ("model", "variable", "value", "why"),
    [
        (PiOptions, "PI_MAX_STEPS", "-1", "input should be greater than or equal to 0"),
        (PiOptions, "PI_REQUEST_TIMEOUT_S", "0", "input should be greater than 0"),
        (PiOptions, "PI_COMPACT_AT_PERCENT", "101", "input should be less than or equal to 100"),
        (SubprocessOptions, "HARNESS_OUTPUT", "json", None),
        (SubprocessOptions, "HARNESS_OUTPUT", "Text", None),
        (ClaudeOptions, "CLAUDE_BINARY", "'claude", "no closing quotation"),
        (CodexOptions, "CODEX_BINARY", "'codex", "no closing quotation"),
        (CodexOptions, "CODEX_PATH_OVERRIDE", "'codex", "no closing quotation"),
        (
            CodexOptions,
            "CODEX_TRANSPORT",
            "pigeon",
            "input should be 'auto', 'app-",
        ),
        (CodexOptions, "CODEX_SYSTEM_PROMPT", "x", "input should be 'developer' or 'agents-md'"),
        (CodexOptions, "CODEX_NETWORK_TIMEOUT_SECONDS", "soon", None),
        (
            CodexOptions,
            "CODEX_NETWORK_TIMEOUT_SECONDS",
            "-1",
            "input should be greater than or equal to 0",
        ),
        (CodexOptions, "CODEX_NETWORK_TIMEOUT_SECONDS", "inf", "input should be a finite number"),
        (CodexOptions, "CODEX_NETWORK_TIMEOUT_SECONDS", "nan", "input should be a finite number"),
    ],
)
def test_what_a_harness_says_of_a_bad_value(
    model: type[SettingsModel], variable: str, value: str, why: str | None
):
    with pytest.raises(BadSetting) as caught:
        model.load({variable: value})
    assert (caught.value.name, caught.value.value) == (variable, value)
    assert caught.value.exit_code == 78
    assert why is None or caught.value.why.startswith(why)
    assert [problem.name for problem in model.problems({variable: value})] == [variable]


def test_words_of_a_harness_are_taken_in_any_case():
    env = {"CODEX_TRANSPORT": " Exec ", "CODEX_SYSTEM_PROMPT": "AGENTS-MD"}
    options = CodexOptions.load({**env, "CODEX_NETWORK_TIMEOUT_SECONDS": " 1e2 "})
    assert (options.transport, options.system_prompt) == ("exec", "agents-md")
    assert options.network_timeout_s == 100
    assert ClaudeOptions.load({"CLAUDE_QUEUE_STEERING": " OFF "}).queue_steering == "off"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), (" Yes ", True), ("on", True), ("true", True), ("0", False), ("maybe", False)],
)
def test_a_switch_that_takes_yes(value: str, expected: bool):
    assert PiOptions.load({"PI_ALLOW_OUTSIDE_CWD": value}).allow_outside_cwd is expected
    assert ChildEnvSettings.load({"SWARM_ENABLE_HARNESS_OTEL": value}).harness_otel is expected


def test_the_older_name_of_a_program_counts_if_the_newer_is_blank():
    both = {"CODEX_BINARY": " ", "CODEX_PATH_OVERRIDE": "env -i codex"}
    assert CodexOptions.load(both).program == ("env", "-i", "codex")
    assert CodexOptions.load({**both, "CODEX_BINARY": "mine"}).program == ("mine",)
    assert CodexOptions.load({}).program == ("codex",)


def test_the_installed_harnesses_have_their_options():
    found = installed_options()
    assert found["pi"] is PiOptions
    assert found["codex"] is CodexOptions
    assert found["claude"] is ClaudeOptions
    assert found["subprocess"] is SubprocessOptions


@pytest.mark.parametrize("name", ["PI_MAX_STEPS", "HARNESS_OUTPUT", "PORT"])
def test_a_bad_value_ends_the_start_whichever_harness_is_used(name: str):
    env = {name: "bogus", "HARNESS_PROVIDER": "claude"}
    with pytest.raises(BadSetting, match=f"{name}='bogus' cannot be used"):
        Environment(env, scrubber=Scrubber(), log=Log())


@pytest.mark.parametrize("name", ["CODEX_TRANSPORT", "CODEX_SYSTEM_PROMPT"])
def test_a_value_that_only_a_session_needs_is_left_to_it(name: str):
    env = Environment({name: "bogus"}, scrubber=Scrubber(), log=Log())
    assert env.values()[name] == "bogus"
    assert CodexOptions.problems(env.values())
    assert not CodexOptions.problems(env.values(), early=True)


def test_a_row_that_a_harness_cannot_use_is_passed_over():
    env = Environment({"PI_MAX_STEPS": "7"}, scrubber=Scrubber(), log=Log())
    row = ConfigRow(key="PI_MAX_STEPS", value="bogus")
    env.apply([row, replace(row, key="PI_MAX_COST_USD", value="3")])
    options = PiOptions.load(env.values())
    assert (options.max_steps, options.max_cost_usd) == (7, 3)


@pytest.mark.parametrize(
    "name", ["SWARM_SESSION_TIMEOUT_BY_HARNESS", "SWARM_SESSION_SILENCE_BY_HARNESS"]
)
def test_a_value_nested_without_end_is_a_bad_setting(name: str):
    value = '{"a":' + "[" * 100_000
    with pytest.raises(BadSetting) as caught:
        Settings.load({name: value})
    assert caught.value.name == name
    assert len(str(caught.value)) < 500


def test_the_table_of_the_harnesses_is_what_the_generator_writes():
    spec = importlib.util.spec_from_file_location("harnesses", DOCS / "generate_harnesses.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "harnesses.md").read_text(encoding="utf-8")
    assert written == module.page(written), "run: make docs"
    assert all(f"| `{name}` |" in written for name in supported_providers())
