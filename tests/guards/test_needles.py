"""Every way in which a secret is written down must be found."""

from __future__ import annotations

import base64
import html
import json
import random
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing.needles import MIN_SECRET_CHARS, needles_of, url_passwords

AWKWARD = "pä\"ss\\w/o<r>d&'+ =\t%~"
KEY_LINES = [
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu",
]
PRIVATE_KEY = "\n".join(
    ["-----BEGIN PRIVATE KEY-----", *KEY_LINES, "short==", "-----END PRIVATE KEY-----", ""]
)


def found(value: str, text: str | bytes) -> bool:
    data = text if isinstance(text, bytes) else text.encode()
    return any(needle in data for needle in needles_of(value))


ENCODERS = {
    "raw": lambda s: s,
    "json": json.dumps,
    "json, unicode kept": lambda s: json.dumps(s, ensure_ascii=False),
    "json in json": lambda s: json.dumps(json.dumps(s)),
    "json in json, unicode kept": lambda s: json.dumps(
        json.dumps(s, ensure_ascii=False), ensure_ascii=False
    ),
    "json, slashes escaped": lambda s: json.dumps(s).replace("/", "\\/"),
    "json, markup escaped": lambda s: (
        json.dumps(s).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    ),
    "json, capital escapes": lambda s: json.dumps(s).replace("\\u00e4", "\\u00E4"),
    "url": lambda s: quote(s, safe=""),
    "url, lower case": lambda s: "".join(
        quote(c, safe="").lower() if quote(c, safe="") != c else c for c in s
    ),
    "url path": quote,
    "form": quote_plus,
    "encodeURIComponent": lambda s: quote(s, safe="!'()*~"),
    "html": html.escape,
    "html text": lambda s: html.escape(s, quote=False),
    "python": repr,
    "shell": lambda s: "'" + s.replace("'", "'\\''") + "'",
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("value", [AWKWARD, "plain-Secret_0123456789", "日本語のパスワード"])
def test_each_encoding_is_a_needle(encoding: str, value: str) -> None:
    assert found(value, f"before {ENCODERS[encoding](value)} after")


@given(st.text(min_size=MIN_SECRET_CHARS, max_size=30))
@example('"\\/"\\/"')
@example("\ud800lone surrogate")
def test_json_of_anything_is_found(value: str) -> None:
    if len(value.strip()) < MIN_SECRET_CHARS:
        assert not needles_of(value)
        return
    for text in (json.dumps(value), json.dumps(json.dumps(value)), json.dumps([{"k": value}])):
        assert found(value, text)


def test_base64_is_found_wherever_it_stands_in_a_blob() -> None:
    rng = random.Random(1)
    for _ in range(400):
        size = rng.randint(MIN_SECRET_CHARS, 40)
        value = "".join(rng.choices(string.ascii_letters + string.digits + "?>~ü", k=size))
        before, after = rng.randbytes(rng.randint(0, 9)), rng.randbytes(rng.randint(0, 9))
        blob = before + value.encode() + after
        assert found(value, base64.b64encode(blob))
        assert found(value, base64.urlsafe_b64encode(blob))


def test_no_needle_is_so_short_that_it_hits_ordinary_text() -> None:
    for value in ("abcdef", "secret", AWKWARD, PRIVATE_KEY, "a\nb\n}\nfi\nabcdef"):
        assert min(map(len, needles_of(value))) >= MIN_SECRET_CHARS


@pytest.mark.parametrize("value", ["", "   ", "abcde", " abcde\n", "a,b,c"])
def test_too_short_to_mask(value: str) -> None:
    assert not needles_of(value)


def test_lines_of_a_key_are_needles_but_not_its_frame() -> None:
    needles = needles_of(PRIVATE_KEY)
    assert {line.encode() for line in (*KEY_LINES, "short==")} < needles
    for ordinary in ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"):
        assert ordinary.encode() not in needles
    assert PRIVATE_KEY.strip().encode() in needles
    assert found(PRIVATE_KEY, json.dumps({"key": PRIVATE_KEY}))


def test_line_ends_of_files_terminals_and_echo() -> None:
    value = "first line\nsecond one"  # both too short to be needles of their own
    assert found(value, "first line\r\nsecond one")
    assert found(value, "first line second one")
    assert found(value.replace("\n", "\r\n"), "first line\nsecond one")


def test_short_lines_of_a_secret_are_ordinary_text() -> None:
    script = "set -e\nexport PASSWORD=hunter2hunter2\nfi\n}\n"
    assert not found(script, "set -e")
    assert found(script, "export PASSWORD=hunter2hunter2")


def test_members_of_a_pool() -> None:
    pool = "tok-aaaaaaaaaaaa, tok-bbbbbbbbbbbb,,x"
    assert found(pool, "using tok-bbbbbbbbbbbb now")
    assert b"x" not in needles_of(pool)


def test_strings_inside_a_secret_document() -> None:
    document = json.dumps(
        {
            "type": "oauth",
            "refresh": "rt-0123456789abcdef",
            "auth_uri": "https://accounts.example.test/o/oauth2/auth",
            "list": [{"key": PRIVATE_KEY}],
        }
    )
    assert found(document, "token rt-0123456789abcdef")
    assert found(document, KEY_LINES[1])
    assert not found(document, '{"type":"oauth"} see https://accounts.example.test/o/oauth2/auth')


def test_the_token_of_a_header_value() -> None:
    assert found("Bearer abcdef123456", "x-forwarded: abcdef123456")


def test_passwords_of_urls() -> None:
    assert list(url_passwords("postgres://app:s%40crets@db/x")) == ["s%40crets", "s@crets"]
    assert list(url_passwords("postgres://postgres:postgres@db/x")) == []
    assert list(url_passwords("https://host/path:8080/@x")) == []
    assert found("amqp://u:p4ssw0rd@mq:5672/", "the password is p4ssw0rd")


def test_undecodable_environment_values() -> None:
    assert found(b"caf\xe9-secret".decode("utf-8", "surrogateescape"), b"x caf\xe9-secret y")
