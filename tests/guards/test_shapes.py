"""Secrets known by their looks."""

from __future__ import annotations

import json
import time

import pytest

from agent_swarm_worker.guards.scrubbing.matcher import SHAPES
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

TAIL = "A1b2C3d4E5f6G7h8I9j0K1l2"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
KEY_BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY}\nab12==\n-----END RSA PRIVATE KEY-----"
LOCKED_KEY = KEY.replace(
    "-----\nMII", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0A1B\n\nMII", 1
)

TOKENS = {
    "github_pat": f"github_pat_11ABCDEFG0_{TAIL}",
    "github_token": f"ghp_{TAIL}",
    "gitlab_pat": f"glpat-{TAIL}",
    "anthropic_key": f"sk-ant-api03-{TAIL}",
    "openai_proj_key": f"sk-proj-{TAIL}_x-Y",
    "openai_service_key": f"sk-svcacct-{TAIL}",
    "openrouter_key": f"sk-or-v1-{TAIL}",
    "sk_key": f"sk-{TAIL}",
    "slack_token": "xoxb-123456789012-abcDEF",
    "slack_app_token": "xapp-1-A0123456789-abcdef",
    "aws_access_key": "AKIA" + "IOSFODNN7EXAMPLE",
    "google_api_key": f"AIzaSyA{TAIL}-abcd_efg",
    "jwt": JWT,
    "signoz_ingestion_key": "signoz-ingestion-key=0123456789abcdef0123==",
    "linear_oauth": "lin_oauth_test123abcdef",
    "linear_api": "lin_api_0123456789",
    "npm_token": f"npm_{TAIL}",
    "atlassian_token": f"ATATT3xFfGF0{TAIL}",
    "mcp_token": f"aswt_{TAIL}",
    "stripe_key": f"sk_live_{TAIL}",
    "stripe_webhook_secret": f"whsec_{TAIL}",
    "hugging_face_token": f"hf_{TAIL}{TAIL}",
    "private_key": KEY,
}
OTHER_SPELLINGS = {
    "aws_access_key": ["ASIAIOSFODNN7EXAMPLE"],
    "sk_key": [f"sk-abc_{TAIL}"],
    "private_key": [
        LOCKED_KEY,
        KEY.replace("RSA ", ""),
        KEY.replace("\n", "\r\n"),
        KEY.replace("\n", "\\n"),
    ],
    "stripe_key": [f"rk_test_{TAIL}"],
}
CASES = list(TOKENS.items()) + [(n, t) for n, s in OTHER_SPELLINGS.items() for t in s]


@pytest.fixture
def scrub() -> Scrubber:
    return Scrubber()


@pytest.mark.parametrize(("name", "token"), CASES)
def test_alone_quoted_and_after_escapes(name: str, token: str, scrub: Scrubber) -> None:
    mask = f"[REDACTED:{name}]"
    assert scrub.text(token) == mask
    for before, after in (
        ("x ", " y"),
        ('"', '"'),
        ("\\n", "\\nmore"),
        ("=", ";"),
        ("%20", "&"),
        ("\x1b[31m", "\x1b[0m"),
    ):
        assert scrub.text(before + token + after) == before + mask + after


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in TOKENS
        if n not in {"google_api_key", "atlassian_token", "sk_key", "stripe_key", "jwt"}
    ],
)
def test_glued_to_a_word(name: str, scrub: Scrubber) -> None:
    assert scrub.text(f"key{TOKENS[name]}.") == f"key[REDACTED:{name}]."
    assert scrub.text(f"_{TOKENS[name]} ") == f"_[REDACTED:{name}] "


def test_followed_by_an_underscore(scrub: Scrubber) -> None:
    assert scrub.text(f"ghp_{TAIL}_x") == "[REDACTED:github_token]_x"
    assert scrub.text("AKIAIOSFODNN7EXAMPLE_x") == "[REDACTED:aws_access_key]_x"


@pytest.mark.parametrize(
    "text",
    [
        "task-0123456789abcdefghijklmn",  # an id, not sk-
        "task-01HXYZABCDEFGHJKMNPQRSTVWX",
        "disk-proj-management-dashboard",
        "sk-learn",
        "sk-fading-circle-container-large",
        "sk-some_function_of_the_library",
        "npm_config_registry npm_lifecycle_event",
        "FANTASIASOUNDTRACKCOLLECTION",
        "GATTACA ATATTGCATTGCATTGCATTGCATTGCA",
        "eyJ is how base64 of a JSON object starts; .eyJ too",
        "ghp_short glpat-short xoxb-short",
        "-----BEGIN PRIVATE KEY----- is the first line of such a file",
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAA\n-----END CERTIFICATE-----",
        "the bearer authentication-middleware",
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer ${TOKEN}",
        "Authorization: Bearer <token>",
        "http://localhost:3000/@scope/package",
        "https://host:8080/path?x=a@b.example",
        "postgres://user:${PASSWORD}@db postgres://user:[REDACTED:X]@db",
        "git@github.com:owner/repo.git ssh://git@host:22/x",
        "data_test_live_sk_test_short",
    ],
)
def test_ordinary_text_passes(text: str, scrub: Scrubber) -> None:
    assert scrub.text(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer [REDACTED:authorization]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic [REDACTED:authorization]"),
        (
            "-H 'Authorization: Bearer opaque-value'",
            "-H 'Authorization: Bearer [REDACTED:authorization]'",
        ),
        ("curl: Bearer 0123456789abcdef", "curl: Bearer [REDACTED:bearer_token]"),
        (
            "Authorization: Bearer Bearer 0123456789abcdef",
            "Authorization: Bearer [REDACTED:authorization] [REDACTED:bearer_token]",
        ),
        ("postgres://app:p$ss!w,d@db/x", "postgres://app:[REDACTED:url_password]@db/x"),
        ("https://:p@ss@host/", "https://:[REDACTED:url_password]@host/"),
        ("https:\\/\\/u:pw\\u0041@host", "https:\\/\\/u:pw\\u0041@host"),
        ("https:\\/\\/u:pw@host", "https:\\/\\/u:[REDACTED:url_password]@host"),
    ],
)
def test_headers_and_urls_keep_what_is_around(text: str, clean: str, scrub: Scrubber) -> None:
    assert scrub.text(text) == clean


def test_header_as_json(scrub: Scrubber) -> None:
    line = json.dumps({"headers": {"Authorization": "Bearer opaque"}}).encode()
    clean, value = scrub.json_line(line)
    assert value == {"headers": {"Authorization": "Bearer [REDACTED:authorization]"}}
    assert json.loads(clean) == value


def test_key_in_json_in_json(scrub: Scrubber) -> None:
    line = json.dumps({"result": json.dumps({"key": KEY})}).encode()
    _, value = scrub.json_line(line)
    assert json.loads(value["result"]) == {"key": "[REDACTED:private_key]"}


def test_a_registered_secret_names_its_own_token(scrub: Scrubber) -> None:
    scrub.add("GITHUB_TOKEN", f"ghp_{TAIL}")
    assert scrub.text(f"ghp_{TAIL}") == "[REDACTED:GITHUB_TOKEN]"


def test_every_shape_has_a_sample() -> None:
    samples = {*TOKENS, "openai_admin_key", "authorization", "bearer_token", "url_password"}
    assert {shape.name for shape in SHAPES} == samples


HOSTILE_UNITS = [
    "eyJ",
    "eyJ.eyJ",
    "sk-",
    "sk-a_",
    "sk-ant-",
    "AKIA",
    "A:",
    "://a:",
    "://a:b@",
    "Bearer a1 ",
    "Authorization: Bearer ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n",
    "-----BEGIN PRIVATE KEY-----Comment: ",
    "\\",
    "[REDACTED:",
]


@pytest.mark.parametrize("unit", HOSTILE_UNITS)
def test_a_long_line_takes_linear_time(unit: str, scrub: Scrubber) -> None:
    line = ("-----BEGIN PRIVATE KEY-----" + unit * (256 * 1024 // len(unit)) + " .eyJ").encode()
    begin = time.process_time()
    scrub.data(line)
    assert time.process_time() - begin < 1.5  # quadratic ones take from three seconds to minutes
