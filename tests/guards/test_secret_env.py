"""Which variables hold secrets."""

from __future__ import annotations

import pytest

from agent_swarm_worker.guards.child_env import helper_env
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.guards.scrubbing.secret_names import is_secret_name, secret_values_of

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
    # without a prefix
    *("ACCESS_KEY", "PRIVATE_KEY", "AUTHTOKEN", "PASSPHRASE", "CONNECTION_STRING", "SECRET_KEY"),
    *("PAT", "PASS", "DSN_PASSWORD", "COOKIE", "JWT", "WEBHOOK_URL", "CREDENTIALS"),
    # numbered, plural, of an edition
    *("GITHUB_TOKEN_2", "GITHUB_TOKEN2", "API_KEYS", "API_KEY_1", "SLACK_TOKENS", "DB_PASSWORDS"),
    *("API_TOKEN_V2", "apiKeyV2", "DB_PASSWORD_v10_OLD", "CLIENT_SECRETS_V3_1", "PASSWORDV2"),
    *("CLIENT_SECRETS", "API_KEY_OLD", "DB_PASSWORD_PROD", "TOKEN_PREVIOUS", "OAUTH_TOKENS_3"),
    *("PRIVATE_KEY_PEM", "SIGNING_KEY_BASE64", "SERVICE_CREDENTIALS_JSON", "DB_PASSWORD_01"),
    # other words
    *("SMTP_PASS", "DB_PWD", "MYSQL_PWD", "LDAP_BIND_PW", "GITHUB_PAT", "AZURE_DEVOPS_EXT_PAT"),
    *("GH_PATS", "SLACK_WEBHOOK", "SLACK_WEBHOOK_URL", "DISCORD_WEBHOOK_URLS", "JIRA_COOKIES"),
    *("SESSION_COOKIE", "AWS_CREDS", "NPM_CONFIG__AUTH", "REDISCLI_AUTH", "SSHPASS", "APP_KEY"),
    *("SUPABASE_SERVICE_ROLE_KEY", "DD_APP_KEY", "WALLET_MNEMONIC", "DOCKER_AUTH_CONFIG"),
    *("ANTHROPIC_CUSTOM_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "MY_CONN_STR", "APIKEY"),
    # with the place it is for
    *(
        "TOKEN_PROD_EU",
        "GITLAB_TOKEN_READONLY",
        "SECRET_KEY_BASE",
        "TOKEN_US_EAST_1",
        "GH_TOKEN_CI",
    ),
    *("DB_PASSWORD_LOCAL", "API_KEY_DEFAULT_V2", "TOKEN_FOR_CI", "PASSWORD_QA"),
    # written together
    *("DBPASS", "PGPASS", "storepass", "keypass", "MYSQLPWD", "GITHUBPAT", "ROOTPW", "PRIVKEY"),
    *("LDAP_BINDPW", "SMTPPASS", "MASTERKEY", "BEARER", "NETRC", "CONNSTR"),
    # other spellings
    *("githubToken", "dbPassword", "apiKey", "clientSecret", "awsSecretAccessKey", "APIKeys"),
    *("npm_config__authtoken", "MYAPIKEY", "DBPASSWORD", "github-token", "X-Api-Key", "x.api.key"),
]


def test_secret_names() -> None:
    for name in SECRET_NAMES:
        assert is_secret_name(name), name
        assert (name, "value-of-it") in list(secret_values_of({name: "value-of-it"})), name


OTHER_NAMES = [
    "MCP_BASE_URL",
    "APP_URL",
    "API_URL",
    "TEMPLATE_REGISTRY_URL",
    "app_url",
    "PATH",
    "PWD",
    "HOME",
    "MAX_THINKING_TOKENS",
    "API_V2",
    "IPV6",
    "TOKENIZERS_PARALLELISM",
    "SSH_AUTH_SOCK",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "DB_PASSWORD_FILE",
    "CODEX_OAUTH_x",
    *(
        "OLDPWD",
        "MAX_TOKENS",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "TOKEN_LIMIT",
        "PATHS",
        "COMPASS",
    ),
    *("GIT_ASKPASS", "SSH_ASKPASS", "BYPASS", "STRIPE_PUBLIC_KEY", "STRIPE_API_PUBLIC_KEY"),
    *("KEYBOARD", "SORT_KEY", "SECRET_NAME", "TOKEN_URL", "COOKIE_DOMAIN", "PASS_THROUGH"),
    *("SWARM_SECRET_NAMES", "SWARM_NOT_SECRET", "SWARM_PASS_ENV", "monkey", "tokenizer"),
]


def test_other_names() -> None:
    for name in OTHER_NAMES:
        assert not is_secret_name(name), name
        assert not list(secret_values_of({name: "https://swarm.example.test/path"})), name


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("OPENAI_KEY", "k3yValue0123456789", {"k3yValue0123456789"}),
        ("CACHE_KEY", "k3yValue0123456789", set()),
        ("SOME_KEY", "a plain sentence of 2", set()),
        ("SSL_KEY", "/etc/ssl/private/server2.key", set()),
        ("USE_TOKEN", "true", set()),
        ("OUTPUT_TOKENS", "32000", set()),
        ("DB_PASSWORD", "32000123", {"32000123"}),
        ("GCP_CREDENTIALS", "/run/secrets/gcp.json", set()),
        ("CURL_COOKIES", "~/.cookies.txt", set()),
        ("JIRA_COOKIE", "sid=abcdef123; theme=x", {"sid=abcdef123; theme=x", "abcdef123", "x"}),
        ("API_KEYS", "key-one-1;key-two-2", {"key-one-1;key-two-2", "key-one-1", "key-two-2"}),
        ("SENTRY_DSN", "https://abcdef0123@o1.example.test/4", {"abcdef0123"}),
        ("DB_DSN", "app:hunter22@tcp(db:3306)/x", {"hunter22"}),
        ("DB_DSN", "host=db user=app password=hunter22", {"hunter22"}),
        ("DB_DSN", "postgres://db/x", set()),
        ("DB_DSN", "host=db password='two words' user=app", {"two words"}),
        ("Db__Main", "Server=db;User Id=sa;Password=hunter22;", {"hunter22"}),
        ("JDBC_URL", "jdbc:postgresql://h/db?user=u&password=hunter22", {"hunter22"}),
        ("FEED", "https://h.test/x?a=1&access_token=abc%2Fdef99", {"abc%2Fdef99", "abc/def99"}),
        ("CLONE_URL", "https://ctokKq8ZtW2mm@git.test/x.git", {"ctokKq8ZtW2mm"}),
        ("NETRC", "machine h login u password hunter22", {"hunter22"}),
        ("NETRC", "/root/.netrc", set()),
        ("TWILIO_AUTH", "twilKq8ZtW2mm1", {"twilKq8ZtW2mm1"}),
        ("OTP_SEED", "otpKq8ZtW2mm12", {"otpKq8ZtW2mm12"}),
        ("RANDOM_SEED", "123456789012", set()),
        ("GIT_AUTH", "basic-authentication", set()),
        ("SLACK_HOOK", "https://hooks.test/services/T0/slkKq8Zt", {"services/T0/slkKq8Zt"}),
        ("PRE_COMMIT_HOOK", "make lint", set()),
        ("CLONE_URL", "https://some.user@git.test/x.git", set()),
        ("DOCS_URL", "https://h.test/search?q=password&page=2", set()),
        ("TEMPLATE", "Server=db;Password=${DB_PASSWORD};", set()),
        (
            "SLACK_WEBHOOK_URL",
            "https://hooks.example.test/services/T0/B0/XyZ123",
            {"services/T0/B0/XyZ123"},
        ),
    ],
)
def test_the_value_decides_too(name: str, value: str, secrets: set[str]) -> None:
    found = {value for _, value in secret_values_of({name: value})}
    assert secrets <= found if secrets else not found


def test_the_operator_adds_and_excepts_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_SECRET_NAMES", "corp_*, *_Sauce")
    monkeypatch.setenv("SWARM_NOT_SECRET", "PUBLIC_*,*_KEY,CORP_MOTTO")
    for name in ("CORP_ID", "corp_id", "HOT_SAUCE", "DB_PASSWORD", "API_KEY"):
        assert is_secret_name(name)
    for name in ("CORP_MOTTO", "PUBLIC_TOKEN", "STRIPE_KEY", "SAUCE_BOX"):
        assert not is_secret_name(name)
    env = {"CORP_ID": "corporate-1", "PUBLIC_TOKEN": "public-1", "SOME_KEY": "k3yValue0123456789"}
    scrubber = Scrubber()
    scrubber.add_env({**env, "PUBLIC_DB_PASSWORD": "postgres://app:hunter22@db/x"})
    printed = "\n".join([*env.values(), "hunter22"])
    assert scrubber.text(printed) == (
        "[REDACTED:CORP_ID]\npublic-1\nk3yValue0123456789\n[REDACTED:PUBLIC_DB_PASSWORD]"
    )
    assert set(helper_env(env)) == {"PUBLIC_TOKEN", "SOME_KEY"}


def test_a_row_of_the_server_changes_no_rule() -> None:
    rules = {"SWARM_NOT_SECRET": "*", "SWARM_SECRET_NAMES": "HOME"}
    found = secret_values_of({**rules, "GITHUB_TOKEN": "token-1", "HOME": "/root/home"})
    assert [value for _, value in found] == ["token-1"]


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
