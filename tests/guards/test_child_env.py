"""What a child process may see of the worker's environment."""

from __future__ import annotations

import pytest

from agent_swarm_worker.guards.child_env import harness_env, helper_env
from agent_swarm_worker.providers.claude.spec import SPEC as CLAUDE

FOR_AGENTS = {
    "PATH": "/bin",
    "HOME": "/home/agent",
    "API_KEY": "key-of-the-swarm",
    "MCP_BASE_URL": "http://localhost:3013",
    "ANTHROPIC_API_KEY": "key-of-the-model",
    "GITHUB_TOKEN": "token-of-the-code-host",
    "SSH_AUTH_SOCK": "/run/agent.sock",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1",
    "DATABASE_URL": "postgres://app:s3cret-pw@db/app",
    "HTTPS_PROXY": "http://me:proxy-password@proxy:3128",
    "DIGITALOCEAN_TOKEN": "has-no-git-in-it",
    "MY_DEPLOY_TOKEN": "given-by-a-configuration-row",
}
FOR_OTHERS = {
    "SECRETS_ENCRYPTION_KEY": "opens-the-server",
    "LD_PRELOAD": "/usr/lib/libjemalloc.so",
    "PYTHONPATH": "/opt/worker",
    "VIRTUAL_ENV": "/opt/worker/venv",
    "NOTIFY_SOCKET": "/run/systemd/notify",
    "CREDENTIALS_DIRECTORY": "/run/credentials/worker",
    "GIT_DIR": "/repo/.git",
    "OTEL_EXPORTER_OTLP_HEADERS": "signoz-ingestion-key=abcdef",
}
NOT_FOR_HELPERS = {
    "API_KEY",
    "ANTHROPIC_API_KEY",
    "DATABASE_URL",
    "DIGITALOCEAN_TOKEN",
    "MY_DEPLOY_TOKEN",
}


def test_a_harness_gets_what_it_was_given_and_nothing_of_the_workers():
    assert harness_env(FOR_AGENTS | FOR_OTHERS) == FOR_AGENTS


def test_a_helper_gets_no_secret_but_those_of_code_hosts():
    assert FOR_AGENTS.keys() - helper_env(FOR_AGENTS | FOR_OTHERS).keys() == NOT_FOR_HELPERS
    assert not helper_env(FOR_OTHERS)


def test_a_helper_gets_no_secret_whose_name_does_not_tell():
    env = {"PHRASE": "a phrase", "HARNESS_COMMAND": "run --key a-phrase", "PATH": "/bin"}
    assert helper_env(env, scrub=lambda text: text.replace("phrase", "[…]")) == {"PATH": "/bin"}


@pytest.mark.parametrize("name", [*FOR_OTHERS])
def test_what_is_named_gets_through_all_the_same(name: str):
    env = {**FOR_AGENTS, **FOR_OTHERS, "SWARM_PASS_ENV": f"X, {name} "}
    assert harness_env(env).get(name) == FOR_OTHERS[name]
    assert helper_env(env).get(name) == FOR_OTHERS[name]


@pytest.mark.parametrize("switch", ["SWARM_ENABLE_HARNESS_OTEL", "CLAUDE_CODE_ENABLE_TELEMETRY"])
def test_a_harness_that_reports_itself_gets_the_key_of_the_collector(switch: str):
    own = CLAUDE.tracing_variables
    on, off = FOR_OTHERS | {switch: "1"}, FOR_OTHERS | {switch: "0"}
    assert "OTEL_EXPORTER_OTLP_HEADERS" in harness_env(on, tracing_switches=own)
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in harness_env(off, tracing_switches=own)


def test_the_switch_of_one_harness_means_nothing_for_another():
    env = FOR_OTHERS | dict.fromkeys(CLAUDE.tracing_variables, "1")
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in harness_env(env)
