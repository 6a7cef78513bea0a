"""Harness profiles by name: their keys, what they extend, and what is said of mistakes."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.harness_profiles.model import MAX_PROBLEMS
from agent_swarm_worker.harness_profiles.names import check_choice, chosen_name, parse_name
from agent_swarm_worker.harness_profiles.profiles import MAX_VARIANTS, HarnessProfiles
from agent_swarm_worker.providers.acp.spec import AcpOptions
from agent_swarm_worker.providers.codex.spec import CodexOptions
from agent_swarm_worker.providers.pi.spec import PiOptions

Write = Callable[..., Path]
Problems = Callable[..., list[str]]


def resolve(write: Write, text: str, name: str) -> Any:
    profiles = HarnessProfiles.load(write(text))
    return profiles.resolve(profiles.find(name))


# --- names
@pytest.mark.parametrize(
    "name", ["pi-cli:deep-thought", "PI_CLI:DEEP_THOUGHT", " Pi-Cli : Deep_Thought "]
)
def test_names_in_any_spelling(write: Write, name: str):
    found = resolve(write, '[Pi_Cli.DEEP_THOUGHT]\nmodel = "m"', name)
    assert str(found.name) == "pi-cli:deep-thought"
    assert found.variables == {"MODEL_OVERRIDE": "m"}


def test_an_agent_alone_means_its_default(write: Write):
    assert str(parse_name("Claude")) == "claude:default"
    assert str(parse_name("plan", harness="codex")) == "codex:plan"
    found = resolve(write, "[claude.DEFAULT]\nmodel = 'm'", "claude")
    assert found.variables == {"MODEL_OVERRIDE": "m"}


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"HARNESS_PROFILE": "clade:plan"}, "unknown harness 'clade' (did you mean 'claude'?)"),
        ({"HARNESS_PROFILE": "claude:__x"}, "names that begin with __ are reserved"),
        ({"HARNESS_PROFILE": "claude:"}, "a name has letters, digits, - and _"),
        ({"HARNESS_PROFILE": "claude:a b"}, "a name has letters, digits, - and _"),
        (
            {"HARNESS_PROFILE": "claude:plan", "HARNESS_PROVIDER": "codex"},
            "it is of the harness 'claude', and HARNESS_PROVIDER is 'codex'",
        ),
        ({"HARNESS_PROFILE_TASK_CHOICES": "plan, gpt:x"}, "unknown harness 'gpt'"),
    ],
)
def test_variables_that_choose_nothing(env: dict[str, str], why: str):
    with pytest.raises(BadSetting) as caught:
        check_choice(env)
    assert why in caught.value.why
    assert caught.value.exit_code == 78


def test_a_choice_with_its_harness():
    check_choice({"HARNESS_PROFILE": "pi_cli:x", "HARNESS_PROVIDER": "pi-cli"})
    assert chosen_name({"HARNESS_PROFILE": "PI_CLI:x"}) == ("pi-cli", "x")
    assert chosen_name({"HARNESS_PROFILE": " "}) is None


# --- what a variant says
def test_options_become_variables_that_the_harness_reads(write: Write, tmp_path: Path):
    found = resolve(
        write,
        """
        [codex.x.options]
        program = ["my codex", "--flag"]
        transport = "exec"
        network_timeout_s = 7
        [acp.x.options]
        target_args = ["a b", "c,d"]
        target_env_keys = ["A", "B"]
        config_options = {mode = {deep = true}}
        client_tools = true
        [pi.x.options]
        extra_roots = ["/a b", "/c"]
        max_steps = 3
        allow_outside_cwd = false
        """,
        "codex:x",
    )
    options = CodexOptions.load(found.variables)
    assert options.program == ("my codex", "--flag")
    assert (options.transport, options.network_timeout_s) == ("exec", 7.0)
    profiles = HarnessProfiles.load(tmp_path / "profiles.toml")
    acp = AcpOptions.load(profiles.resolve(parse_name("acp:x")).variables)
    assert acp.target_args == ("a b", "c,d")
    assert acp.target_env_keys == ("A", "B")
    assert acp.config_options == {"mode": {"deep": True}}
    assert acp.client_tools is True
    pi = PiOptions.load(profiles.resolve(parse_name("pi:x")).variables)
    assert pi.extra_roots == ("/a b", "/c")
    assert (pi.max_steps, pi.allow_outside_cwd) == (3, False)


@pytest.mark.parametrize(
    ("harness", "variables"),
    [
        ("claude", {"CLAUDE_BINARY": "'my agent' -x"}),
        ("codex", {"CODEX_BINARY": "'my agent' -x", "CODEX_PATH_OVERRIDE": ""}),
        ("subprocess", {"HARNESS_COMMAND": "'my agent' -x"}),
        ("acp", {"ACP_TARGET_COMMAND": "'my agent' -x", "ACP_TARGET_ARGS": ""}),
    ],
)
def test_a_command_is_that_of_the_harness(write: Write, harness: str, variables: dict[str, str]):
    text = f"[{harness}.x]\ncommand = \"'my agent' -x\"\noptions = {{}}"
    assert resolve(write, text, f"{harness}:x").variables == variables
    assert shlex.split(next(iter(variables.values()))) == ["my agent", "-x"]


def test_options_go_before_env_and_own_keys_before_options(write: Write):
    text = """
    [claude.x]
    command = "three"
    model = "m"
    options = {program = "two", queue_steering = "on"}
    env = {CLAUDE_BINARY = "one", CLAUDE_QUEUE_STEERING = "off", MODEL_OVERRIDE = "n", Z = ""}
    """
    assert resolve(write, text, "claude:x").variables == {
        "CLAUDE_BINARY": "three",
        "CLAUDE_QUEUE_STEERING": "on",
        "MODEL_OVERRIDE": "m",
        "Z": "",
    }


# --- extends
EXTENDED = """
[claude.base]
model = "opus"
args = ["--a"]
env = {A = "1", B = "2"}
[claude.mid]
extends = "claude:BASE"
effort = "low"
env = {B = "3"}
[claude.top]
extends = "mid"
args = []
"""


def test_a_variant_takes_over_what_it_extends(write: Write):
    profiles = HarnessProfiles.load(write(EXTENDED))
    top = profiles.resolve(profiles.find("claude:top"))
    assert top.args == ()
    assert top.variables == {
        "A": "1",
        "B": "3",
        "MODEL_OVERRIDE": "opus",
        "REASONING_EFFORT_OVERRIDE": "low",
    }
    sources = {key: str(it.source) for key, it in profiles.tree(top.name).leaves()}
    assert sources["model"].endswith("claude.base.model (extends claude:base)")
    assert sources["env.B"].endswith("claude.mid.env.B (extends claude:mid)")
    assert sources["args"].endswith("profiles.toml: claude.top.args")


def test_a_variant_without_extends_takes_over_nothing(write: Write):
    text = '[claude.default]\nmodel = "m"\n[claude.x]\neffort = "low"'
    assert resolve(write, text, "claude:x").variables == {"REASONING_EFFORT_OVERRIDE": "low"}


# --- mistakes
@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("[clade.x]", "clade", "unknown harness (did you mean 'claude'?)"),
        ("includes = []", "includes", "unknown harness (did you mean 'include'?)"),
        ("claude = 1", "claude", "expected a table of variants, found a whole number"),
        ("[claude]\nmodel = 'x'", "claude.model", "such as claude.default"),
        ("[claude.__x]", "claude.__x", "names that begin with __ are reserved"),
        ("[claude.x]\nmodle = 'x'", "claude.x.modle", "unknown key (did you mean 'model'?)"),
        ("[claude.x]\nmodel = 5", "claude.x.model", "expected text, found a whole number"),
        ("[claude.x]\nmodel = 2026-01-01", "claude.x.model", "expected text, found a date"),
        ("[claude.x]\neffort = 'hi'", "claude.x.effort", "expected 'off', 'low', 'medium'"),
        ("[claude.x]\nargs = '-x'", "claude.x.args", "expected a list, found text"),
        ("[claude.x]\nargs = [1]", "claude.x.args.0", "expected text, found a whole number"),
        ("[claude.x]\nenv = {A = 1}", "claude.x.env.A", "expected text, found a whole number"),
        ("[claude.x]\nenv = {'A=B' = ''}", "claude.x.env.A=B", "no name of a variable"),
        (
            "[claude.x]\nenv = {AGENT_ID = 'x'}",
            "claude.x.env.AGENT_ID",
            "the worker does not take AGENT_ID from here",
        ),
        ('[claude.x]\nenv = {A = "\\u0000"}', "claude.x.env.A", "a null byte"),
        ("[claude.x]\ncommand = 'a \"b'", "claude.x.command", "no closing quotation"),
        ("[claude.x]\ncommand = ' '", "claude.x.command", "expected a command line"),
        ("[pi.x]\ncommand = 'a'", "pi.x.command", "pi runs no program"),
        ("[claude.x]\npermissions = 5", "claude.x.permissions", "expected a table"),
        ("[claude.x.permissions]\npolicy = 'x'", "claude.x.permissions.policy", "'read-only'"),
        ("[claude.x.permissions]\npolcy = 'x'", "claude.x.permissions.polcy", "mean 'policy'?"),
        (
            "[claude.x.permissions]\nrules = [{effect = 'deny'}, {efect = 'x', effect = 'ask'}]",
            "claude.x.permissions.rules.1.efect",
            "mean 'effect'?",
        ),
        (
            "[claude.x]\nsandbox = 'docker'",
            "claude.x.sandbox",
            "not available here; there is local",
        ),
        ("[claude.x]\nmcp = ['fetsh']", "claude.x.mcp.0", "did you mean 'fetch'?"),
        ("[claude.x]\noptions = {progam = 'x'}", "claude.x.options.progam", "mean 'program'?"),
        ("[claude.x]\noptions = {home = '/'}", "claude.x.options.home", "unknown option"),
        ("[pi.x]\noptions = {max_steps = -1}", "pi.x.options.max_steps", "greater than or equal"),
        (
            "[pi.x]\noptions = {max_steps = true}",
            "pi.x.options.max_steps",
            "expected a whole number",
        ),
        ("[codex.x]\noptions = {transport = 'x'}", "codex.x.options.transport", "'app-server'"),
        ("[claude.x]\nextends = 'claude:y'", "claude.x.extends", "claude has no variant 'y'"),
        ("[claude.x]\nextends = 'codex:default'", "claude.x.extends", "is of another harness"),
        ("[mcp.swarm-tools]\ncommand = 'x'", "mcp.swarm-tools", "a server of the worker's own"),
        ("[mcp.agent_swarm]\ncommand = 'x'", "mcp.agent_swarm", "a server of the worker's own"),
        (
            "[mcp.agent-swarm__x]\ncommand = 'x'",
            "mcp.agent-swarm__x",
            "a server of the worker's own",
        ),
        ("[mcp.'a b']\ncommand = 'x'", "mcp.a b", "a name has letters, digits"),
        ('["a\\nb".x]', "a b", "unknown harness"),
        ("[mcp.x]", "mcp.x", "expected either command or url"),
        ("[mcp.x]\nurl = 'u'\nargs = ['a']", "mcp.x", "args belongs to a server with command"),
        ("[mcp.x]\nurl = 'u'\nneeds = {program = []}", "mcp.x.needs.program", "mean 'programs'?"),
        ("mcp = 1", "mcp", "expected a table of tool servers"),
    ],
)
def test_a_mistake_is_one_line_with_file_place_and_cause(
    problems: Problems, text: str, where: str, why: str
):
    (found,) = problems(text)
    assert found.startswith(f"profiles.toml: {where}: ")
    assert why in found


def test_a_mistake_in_an_included_file_names_that_file(problems: Problems):
    included = "[claude.x]\nmodel = 5"
    (found,) = problems('include = ["team.toml"]\n[claude.x]\neffort = "low"', team=included)
    assert found == "team.toml: claude.x.model: expected text, found a whole number"


def test_every_mistake_is_named_and_no_value(problems: Problems):
    found = problems("[claude.x]\nenv = {TOKEN = 12345678}\nmodel = 1\n[codex.y]\nmodel = 2")
    assert len(found) == 3
    assert "12345678" not in "".join(found)


def test_variants_that_extend_each_other(problems: Problems):
    text = "[claude.a]\nextends = 'b'\n[claude.b]\nextends = 'c'\n[claude.c]\nextends = 'a'"
    assert (
        "profiles.toml: claude.a.extends: a cycle: claude:a → claude:b → claude:c → claude:a"
        in (problems(text))
    )
    assert problems("[claude.a]\nextends = 'a'") == [
        "profiles.toml: claude.a.extends: a cycle: claude:a → claude:a"
    ]


def test_large_files_are_read_in_bounded_time(problems: Problems, write: Write):
    chain = "".join(f"[claude.v{n}]\nextends = 'v{n + 1}'\n" for n in range(400))
    profiles = HarnessProfiles.load(write(f"{chain}[claude.v400]\nmodel = 'm'"))
    assert profiles.resolve(profiles.find("claude:v0")).variables == {"MODEL_OVERRIDE": "m"}
    found = problems("".join(f"[claude.v{n}]\nextends = 'w{n}'\n" for n in range(3_000)))
    assert any("more than 500 variants" in line for line in found)
    assert len(found) <= MAX_VARIANTS + 1
    found = problems("[claude.x]\n" + "".join(f"a{n} = 1\n" for n in range(20_000)))
    assert len(found) == MAX_PROBLEMS
