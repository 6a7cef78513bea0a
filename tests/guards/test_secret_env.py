"""Which variables hold secrets."""

from __future__ import annotations

import pytest

from agent_swarm_worker.guards.scrubbing.needles import is_secret_name, secret_values_of

SECRET_NAMES = [
    "API_KEY",
    "AGENT_SWARM_API_KEY",
    "SECRETS_ENCRYPTION_KEY",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "SLACK_BOT_TOKEN",
    "SLACK_SIGNING_SECRET",
    "SLACK_CLIENT_SECRET",
    "SLACK_USER_TOKEN",
    "SLACK_APP_TOKEN",
    "SENTRY_AUTH_TOKEN",
    "VERCEL_TOKEN",
    "RESEND_API_KEY",
    "AGENTMAIL_API_KEY",
    "API_AGENT_FS_API_KEY",
    "AGENT_FS_API_KEY",
    "BUSINESS_USE_API_KEY",
    "QA_USE_API_KEY",
    "DOCS_API_KEY",
    "DOKPLOY_API_KEY",
    "DEVTO_API_KEY",
    "ELEVENLABS_API_KEY",
    "ENGINY_API_KEY",
    "OPENFORT_API_KEY",
    "BROWSER_USE_API_KEY",
    "PLAUSIBLE_API_KEY",
    "LINEAR_API_KEY",
    "OPENFORT_TEST_SECRET_KEY",
    "OPENFORT_TEST_WALLET_PRIVATE_KEY",
    "OPENFORT_WALLET_SECRET",
    "TURSO_API_TOKEN",
    "TURSO_DB_TOKEN",
    "TURSO_X_POSTS_DB_TOKEN",
    "IMGFLIP_PASSWORD",
    "GSC_SERVICE_ACCOUNT_BASE64",
    "LINEAR_OAUTH_CLIENT_SECRET",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "SIGNOZ_INGESTION_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CODEX_OAUTH",
    "codex_oauth",
    "codex_oauth_0",
    "CODEX_OAUTH_12",
    "AZURE_STORAGE_CONNECTION_STRING",
    "my_service_api_key",
    "db_passwd",
    "DB_PASSWD",
    "PGPASSWORD",
    "github_token",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)
    assert (name, "value-of-it") in list(secret_values_of({name: "value-of-it"}))


@pytest.mark.parametrize(
    "name",
    [
        "MCP_BASE_URL",
        "APP_URL",
        "API_URL",
        "TEMPLATE_REGISTRY_URL",
        "app_url",
        "PATH",
        "PWD",
        "HOME",
        "MAX_THINKING_TOKENS",
        "TOKENIZERS_PARALLELISM",
        "SSH_AUTH_SOCK",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "DB_PASSWORD_FILE",
        "CODEX_OAUTH_x",
    ],
)
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)
    assert not list(secret_values_of({name: "https://swarm.example.test/path"}))


def test_urls_keep_everything_but_the_password() -> None:
    found = list(secret_values_of({"DATABASE_URL": "postgres://app:hunter2!@db.example.test/x"}))
    assert {value for _, value in found} == {"hunter2!"}
    assert not list(secret_values_of({"SENTRY_DSN": "https://host.example.test/42"}))


def test_base_urls_are_never_touched() -> None:
    assert not list(secret_values_of({"MCP_BASE_URL": "https://user:secret99@host"}))


def test_what_is_inside_connection_strings_and_headers() -> None:
    env = {
        "MY_CONNECTION_STRING": "Server=tcp:db;User ID=app;Password=hunter2!;Encrypt=True",
        "OTEL_EXPORTER_OTLP_HEADERS": "signoz-ingestion-key=abc-def-123,x=a%20b%20c",
        "EMPTY_TOKEN": "",
    }
    values = {value for _, value in secret_values_of(env)}
    assert {"hunter2!", "abc-def-123", "a b c"} < values
    assert "" not in values
