"""The environment and the model of a session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.api.wire.resources import ConfigRow
from agent_swarm_worker.api.wire.tasks import Task
from agent_swarm_worker.guards.permissions.policy import PermissionSettings
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.claude.spec import SPEC as CLAUDE
from agent_swarm_worker.worker.boot.environment import Environment
from agent_swarm_worker.worker.run.model_choice import choose_model

OWN = {"COLOUR": "red", "MODEL_OVERRIDE": "own", "API_KEY": "the-key-of-this-worker"}


def environment() -> Environment:
    return Environment(OWN, scrubber=Scrubber(), log=Log())


def rows(**values: str) -> list[ConfigRow]:
    return [ConfigRow(key=key, value=value) for key, value in values.items()]


def test_rows_lie_over_the_process_and_can_be_taken_away():
    env = environment()
    assert env.apply(rows(COLOUR="blue", NEW="x")) == {"COLOUR", "NEW"}
    assert env.values() == OWN | {"COLOUR": "blue", "NEW": "x"}
    assert env.apply(rows(COLOUR="blue", NEW="x")) == frozenset()
    assert env.apply(rows(NEW="x")) == {"COLOUR"}
    assert env.values()["COLOUR"] == "red"


OURS_ALONE = (
    *("API_KEY", "api_key", "AGENT_ID", "MCP_BASE_URL"),
    *("HOME", "SWARM_STATE_DIR", "SWARM_WORKSPACE_DIR", "LOG_DIR", "TMPDIR"),
    *("PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "NODE_OPTIONS", "BASH_ENV"),
    *("GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "GIT_ALLOW_PROTOCOL", "git_askpass"),
    *("GIT_PROXY_COMMAND", "GIT_SSL_NO_VERIFY", "GIT_TEMPLATE_DIR", "GIT_DIR", "XDG_CONFIG_HOME"),
    *("HTTPS_PROXY", "https_proxy", "No_Proxy", "ALL_PROXY", "npm_config_https_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "CODEX_CA_CERTIFICATE"),
    *("CODEX_SKILLS_DIR", "MY_HARNESS_SKILLS_DIR"),
    *("NPM_CONFIG_CA", "npm_config_registry", "NPM_CONFIG_NODE_OPTIONS", "NPM_CONFIG_SCRIPT_SHELL"),
    *("PIP_CERT", "PIP_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CONFIG_FILE", "UV_DEFAULT_INDEX"),
    *("NIX_SSL_CERT_FILE", "DENO_CERT", "DENO_TLS_CA_STORE", "CLOUDSDK_PROXY_ADDRESS"),
    *("SOCKS_SERVER", "SOCKS5_SERVER", "NODE_USE_ENV_PROXY", "GOPROXY", "GOINSECURE", "GOFLAGS"),
    *("HOSTALIASES", "RES_OPTIONS", "NODE_REPL_EXTERNAL_MODULE", "PERL5OPT", "PERL5LIB", "PERL5DB"),
    *(
        "RUBYOPT",
        "RUBYLIB",
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "GRADLE_OPTS",
    ),
    *("DOTNET_STARTUP_HOOKS", "CORECLR_PROFILER_PATH", "GLIBC_TUNABLES", "RUSTC_WRAPPER"),
    *("PROMPT_COMMAND", "PS4", "EDITOR", "VISUAL", "PAGER", "GH_PAGER", "LESSOPEN", "SUDO_ASKPASS"),
    *("SSH_AUTH_SOCK", "SSH_SK_PROVIDER", "CLAUDE_CODE_SHELL", "CLAUDE_CODE_SHELL_PREFIX"),
    *("CLAUDE_ENV_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL_S3"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "KUBECONFIG", "DOCKER_HOST", "DOCKER_CONFIG", "GNUPGHOME"),
    *("CURL_HOME", "CARGO_HOME", "CARGO_HTTP_PROXY", "PWD", "OLDPWD", "GH_HOST", "GITLAB_HOST"),
    *("SWARM_PASS_ENV", "SYSTEM_PROMPT_FILE", "PI_ALLOW_OUTSIDE_CWD", "AGENT_SWARM_SESSION"),
)


@pytest.mark.parametrize("name", OURS_ALONE)
def test_who_and_where_we_are_and_what_we_load_is_not_told_by_the_server(name: str):
    env = environment()
    with structlog.testing.capture_logs() as logged:
        for _ in range(2):
            env.apply(rows(**{name: "/somewhere/else"}))
    assert env.values() == OWN
    assert [line["key"] for line in logged] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_TOKEN", "GITLAB_TOKEN", "GITLAB_URL", "NPM_CONFIG__AUTHTOKEN", "NPM_TOKEN"),
        *("UV_PUBLISH_TOKEN", "CARGO_REGISTRY_TOKEN", "AWS_REGION", "AWS_ACCESS_KEY_ID"),
        *(
            "ANTHROPIC_BASE_URL",
            "OPENAI_BASE_URL",
            "NODE_ENV",
            "DOCKER_AUTH_CONFIG",
            "GOOGLE_API_KEY",
        ),
        *("GOAL", "COLOUR", "CLAUDE_CODE_MAX_OUTPUT_TOKENS", "TZ", "LANG", "CI", "MODEL_OVERRIDE"),
    ],
)
def test_a_row_may_set_what_a_session_works_with(name: str):
    env = environment()
    env.apply(rows(**{name: "new"}))
    assert env.values()[name] == "new"


def test_no_row_configures_the_workers_own_git():
    own = {"GIT_ASKPASS": "own", "GIT_SSL_NO_VERIFY": "own"}
    env = Environment(OWN | own, scrubber=Scrubber(), log=Log())
    env.apply(
        rows(
            GIT_ASKPASS="/tmp/x",
            GIT_PROXY_COMMAND="/tmp/x",
            git_trace="/tmp/x",
            SSH_ASKPASS="/tmp/x",
            XDG_CONFIG_HOME="/tmp/x",
            SWARM_GIT_PROTOCOLS="https,evil",
            GITHUB_TOKEN="rotated",
        )
    )
    session = env.values()
    assert "SWARM_GIT_PROTOCOLS" not in session
    assert env.for_own_git(session) == OWN | own | {"GITHUB_TOKEN": "rotated"}


def test_rows_may_say_who_signs_commits_and_name_what_only_looks_alike():
    names = ("GIT_AUTHOR_NAME", "GIT_COMMITTER_EMAIL", "MY_CA", "PROXY_COUNT", "SANDPATH", "GITX")
    env = environment()
    assert env.apply(rows(**dict.fromkeys(names, "x"))) == set(names)


PROGRAMS = ("CLAUDE_BINARY", "codex_path_override", "PI_BINARY", "ACP_TARGET_ARGS", "ACP_COMMAND")


def test_under_a_policy_no_row_names_a_program(capsys: pytest.CaptureFixture[str]):
    named = rows(**dict.fromkeys(PROGRAMS, "/tmp/x"))
    own = OWN | {"SWARM_PERMISSIONS": "read-only", "CLAUDE_BINARY": "mine"}
    env = Environment(own, scrubber=Scrubber(), log=Log())
    assert env.apply(named) == frozenset()
    assert env.values() == own
    assert capsys.readouterr().out.count("config.ignored") == len(PROGRAMS)
    free = environment()
    assert free.apply(named) == set(PROGRAMS)
    assert free.values(PermissionSettings(policy="read-only")) == OWN


@pytest.mark.long
@pytest.mark.anyio
async def test_no_row_lifts_what_guards_the_operator_in_a_session(tmp_path: Path):
    """The rows of a server that wants the operator's secrets and the agent's traffic."""
    mine = {"SECRETS_ENCRYPTION_KEY": "the-operators", "HTTPS_PROXY": "http://own.example:1"}
    theirs = {
        "SWARM_PASS_ENV": "SECRETS_ENCRYPTION_KEY,API_KEY",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "GIT_SSH_COMMAND": "/nowhere/steal",
        "NODE_EXTRA_CA_CERTS": "/nowhere/ca.pem",
        "SYSTEM_PROMPT_FILE": "/nowhere/prompt",
        "FAVOURITE_COLOUR": "mauve",
    }
    async with swarm_rig(tmp_path) as rig:
        await rig.post("/api/agents", {"name": "tested"}, **{"X-Agent-ID": AGENT})
        for key, value in theirs.items():
            await put_row(rig, key, value)
        async with running_worker(rig, {**harness("witness", tmp_path), **mine}):
            task_id = await rig.submit()
            row = await rig.until_ended(task_id)
            assert row["status"] == "completed", row
    given = json.loads((tmp_path / f"{task_id}.json").read_text())["env"]
    assert {name: given.get(name) for name in theirs} == {
        **dict.fromkeys(theirs),
        "HTTPS_PROXY": "http://own.example:1",
        "FAVOURITE_COLOUR": "mauve",
    }
    assert "the-operators" not in given.values()


def test_what_no_process_can_be_given_is_left_out():
    env = environment()
    bad = [("A\0B", "x"), ("A=B", "x"), ("A", "x\0y"), ("", "x"), ("HUGE", "x" * 200_000)]
    env.apply([ConfigRow(key=key, value=value) for key, value in bad])
    assert env.values() == OWN


def test_a_blank_override_wipes_nothing_and_an_unusable_one_is_passed_over():
    env = environment()
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            env.apply(rows(MODEL_OVERRIDE=" ", SWARM_POLL_INTERVAL_S="soon", COLOUR="blue"))
    assert [line["key"] for line in logged] == ["SWARM_POLL_INTERVAL_S"]
    assert env.settings.model_override == "own"
    assert env.settings.poll_interval_s == 2.0
    assert env.values() == OWN | {"COLOUR": "blue"}
    assert env.apply(rows(SWARM_POLL_INTERVAL_S="7")) >= {"SWARM_POLL_INTERVAL_S"}
    assert env.settings.poll_interval_s == 7.0


def test_a_table_of_models_that_cannot_be_used_leaves_the_operators():
    env = Environment({"MODEL_TIER_MAP": '{"smart": "own"}'}, scrubber=Scrubber(), log=Log())
    with structlog.testing.capture_logs() as logged:
        env.apply(rows(MODEL_TIER_MAP="[" * 5000))
    assert [line["key"] for line in logged] == ["MODEL_TIER_MAP"]
    smart = Task(id="t", model_tier="smart")
    assert choose_model(smart, tiers={}, env=env.values()).model == "own"


def test_secrets_are_known_before_they_can_be_used():
    scrubber = Scrubber()
    env = Environment(OWN, scrubber=scrubber, log=Log())
    row = ConfigRow(key="PHRASE", value="a phrase that is secret", is_secret=True)
    env.apply([row, ConfigRow(key="DEPLOY_TOKEN", value="named-like-a-secret")])
    told = scrubber.text("a phrase that is secret, named-like-a-secret, the-key-of-this-worker")
    assert told == "[REDACTED:PHRASE], [REDACTED:DEPLOY_TOKEN], [REDACTED:API_KEY]"


@pytest.mark.anyio
async def test_one_unusable_row_does_not_stop_every_task(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):
        for key, value in (("HUGE", "x" * 200_000), ("SHUTDOWN_TIMEOUT", "never"), ("A=B", "x")):
            await put_row(rig, key, value)

        async def ignored() -> bool:
            return len(rig.logged(Event.CONFIG_IGNORED)) >= 2

        await rig.until(ignored)
        row = await rig.until_ended(await rig.submit())
        assert row["status"] == "completed", row


async def put_row(rig: Rig, key: str, value: str) -> None:
    row = {"scope": "agent", "scopeId": AGENT, "key": key, "value": value}
    (await rig.api.put("/api/config", json=row)).raise_for_status()


TIERS = {"MODEL_TIER_MAP": '{"smart": "mapped"}', "MODEL_TIER_ULTRA": "by-name"}


@pytest.mark.parametrize(
    ("env", "model", "tier", "chosen", "source"),
    [
        ({}, None, None, "", "adapter_default"),
        ({"MODEL_OVERRIDE": "o"}, None, None, "o", "agent_config"),
        ({"MODEL_OVERRIDE": "o"}, "t", None, "t", "task"),
        ({"MODEL_OVERRIDE": "o"}, " t ", "smart", "t", "task"),
        ({}, None, "smart", "opus", "custom"),
        ({}, None, "opus", "opus", "custom"),
        ({}, None, "Haiku", "haiku", "custom"),
        (TIERS, None, "smart", "mapped", "custom"),
        (TIERS, None, "ultra", "by-name", "custom"),
        (TIERS, None, "smol", "haiku", "custom"),
        ({"MODEL_TIER_MAP": "[broken"}, None, "smart", "opus", "custom"),
        ({"MODEL_OVERRIDE": "o"}, None, "no such tier", "o", "agent_config"),
    ],
)
def test_the_model(
    env: dict[str, str], model: str | None, tier: str | None, chosen: str, source: str
):
    task = Task(id="t", model=model, model_tier=tier)
    found = choose_model(task, tiers=CLAUDE.models.tiers, env=env)
    assert (found.model, found.source) == (chosen, source)


@pytest.mark.parametrize(
    ("task", "own", "effort"),
    [("high", "low", "high"), (None, "low", "low"), ("silly", "low", None), (None, "", None)],
)
def test_the_effort(task: str | None, own: str, effort: str | None):
    env = {"REASONING_EFFORT_OVERRIDE": own}
    found = choose_model(Task(id="t", effort=task), tiers=CLAUDE.models.tiers, env=env)
    assert found.effort == effort
