"""A scrubbed line of JSON is JSON, and holds no secret however it is spelt."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber


@pytest.fixture
def scrubber() -> Scrubber:
    scrubber = Scrubber()
    scrubber.add("KEY", "some/secret")
    scrubber.add("PIN", "12345678")
    return scrubber


def test_a_clean_line_is_untouched(scrubber: Scrubber) -> None:
    line = b' {"a" : [1, 2.50, 1e5, "\\u00e9\\u001b"] }'
    assert scrubber.json_line(line) == (line, {"a": [1, 2.5, 1e5, "é\x1b"]})


def test_what_is_not_json_is_scrubbed_as_text(scrubber: Scrubber) -> None:
    assert scrubber.json_line(b"Error: some/secret {") == (b"Error: [REDACTED:KEY] {", None)
    assert scrubber.json_line(b'{"a":"some/secret') == (b'{"a":"[REDACTED:KEY]', None)
    for line in (b"", b"  ", b"NaN", b'{"a":NaN}', b"{a:1}", b"\xff\xfe", b"[[" * 5000):
        assert scrubber.json_line(line) == (line, None)


def test_digits_of_a_secret_in_a_number(scrubber: Scrubber) -> None:
    clean, value = scrubber.json_line(
        b'{"n":12345678,"m":-9123456780.5,"k":1234567,"s":"12345678"}'
    )
    assert value == {
        "n": "[REDACTED:PIN]",
        "m": "[REDACTED:PIN]",
        "k": 1234567,
        "s": "[REDACTED:PIN]",
    }
    assert orjson.loads(clean) == value


@pytest.mark.parametrize(
    "spelling",
    [
        "some/secret",
        "some\\/secret",
        "\\u0073ome/secret",
        "some\\u002fsecret",
        "so\\u006De\\/secre\\u0074",
        "".join(f"\\u{ord(c):04x}" for c in "some/secret"),
    ],
)
def test_unusual_escapes(spelling: str, scrubber: Scrubber) -> None:
    line = f'{{"a":"x {spelling} y","{spelling}":[["{spelling}"]]}}'.encode()
    clean, value = scrubber.json_line(line)
    assert value == {"a": "x [REDACTED:KEY] y", "[REDACTED:KEY]": [["[REDACTED:KEY]"]]}
    assert orjson.loads(clean) == value


def test_unusual_escapes_elsewhere_are_left_as_they_are(scrubber: Scrubber) -> None:
    line = b'{"url":"https:\\/\\/example.test","a":"\\u0041"}'
    assert scrubber.json_line(line) == (line, {"url": "https://example.test", "a": "A"})


def test_keys_that_become_equal_both_stay_in_the_line(scrubber: Scrubber) -> None:
    clean, value = scrubber.json_line(b'{"some/secret":1,"12345678":2,"a":3,"a":4}')
    assert clean == b'{"[REDACTED:KEY]":1,"[REDACTED:PIN]":2,"a":3,"a":4}'
    assert value == {"[REDACTED:KEY]": 1, "[REDACTED:PIN]": 2, "a": 4}


def test_a_repeated_key_hides_nothing(scrubber: Scrubber) -> None:
    clean, value = scrubber.json_line(b'{"a":"\\u0073ome/secret","a":"x"}')
    assert clean == b'{"a":"[REDACTED:KEY]","a":"x"}'
    assert value == {"a": "x"}


def test_huge_numbers(scrubber: Scrubber) -> None:
    digits = b"9" * 5000
    clean, value = scrubber.json_line(
        b'{"n":' + digits + b',"i":12345678901234567890123,"e":1e999}'
    )
    assert value["n"] == math.inf
    assert value["e"] == math.inf
    assert value["i"] == "[REDACTED:PIN]"
    assert digits in clean
    json.loads(clean, parse_int=float)


def test_deep_nesting(scrubber: Scrubber) -> None:
    depth = 1000
    line = b'{"a":' * depth + b'"some/secret"' + b"}" * depth
    clean, value = scrubber.json_line(line)
    assert clean == b'{"a":' * depth + b'"[REDACTED:KEY]"' + b"}" * depth
    for _ in range(depth):
        value = value["a"]
    assert value == "[REDACTED:KEY]"


def test_half_surrogates_and_bytes_that_are_no_text(scrubber: Scrubber) -> None:
    """Harnesses cut strings in the middle of an emoji; the event must not be lost for it."""
    clean, value = scrubber.json_line(b'{"a":"cut \\ud83d","b":"\\ud83d\\ude00","k":"some/secret"}')
    assert value == {"a": "cut \ufffd", "b": "😀", "k": "[REDACTED:KEY]"}
    assert orjson.loads(clean) == value
    clean, value = scrubber.json_line(b'{"a":"cut \xf0\x9f","k":1}')
    assert value == {"a": "cut \ufffd", "k": 1}
    assert orjson.loads(clean) == value
    line = b'{"a":"no surrogate \\\\ud83d"}'
    assert scrubber.json_line(line) == (line, {"a": "no surrogate \\ud83d"})


@pytest.mark.parametrize(
    "secret",
    [
        '","id":"',
        '"type":"',
        '":{"a":',
        "message",
        "REDACTED",
        "\\u0041bcdef",
        "u0041b",
        "nabcdef",
        '\\"quoted',
        ",true,false,",
        "[[[[[[",
        "1.5e10",
        "-12345",
    ],
)
def test_secrets_that_read_like_json(secret: str) -> None:
    scrubber = Scrubber()
    scrubber.add("KEY", secret)
    value = {
        "type": "message",
        "id": {"a": [True, False, None, 1.5e10, -123456]},
        "text": "line\nabcdef \\u0041bcdef \u0001 REDACTED",
        "nested": json.dumps({"type": secret, "n": [[[[[[1]]]]]]}),
        "own": secret,
    }
    for line in (
        json.dumps(value),
        json.dumps(value, separators=(",", ":")),
        json.dumps(value, indent=1),
    ):
        clean, parsed = scrubber.json_line(line.encode())
        assert orjson.loads(clean) == parsed
        assert parsed is not None
        assert secret not in json.dumps(scrubber.leaves(parsed)).replace("[REDACTED:KEY]", "")
        assert not any(secret in text for text in strings(parsed, without="[REDACTED:KEY]"))


def test_a_secret_that_is_a_piece_of_the_document() -> None:
    scrubber = Scrubber()
    scrubber.add("OAUTH", '{"access":"aaaa","n":123}')
    clean, value = scrubber.json_line(b'{"x":{"access":"aaaa","n":123},"y":1}')
    mask = "[REDACTED:OAUTH]"
    assert value == {"x": {mask: mask}, "y": 1}
    assert b"aaaa" not in clean
    assert b"123" not in clean


def test_a_secret_that_reaches_out_of_its_string_takes_the_strings_along() -> None:
    scrubber = Scrubber()
    scrubber.add("KEY", '"a":"xyz12')
    clean, value = scrubber.json_line(b'{"a":"xyz12 and the rest","b":1}')
    assert value == {"[REDACTED:KEY]": "[REDACTED:KEY]", "b": 1}
    assert orjson.loads(clean) == value


def test_encodings_with_escaped_slashes() -> None:
    scrubber = Scrubber()
    scrubber.add("KEY", "???>>>???>>>")
    encoded = base64.b64encode(b"???>>>???>>>").decode()
    assert "/" in encoded
    line = json.dumps({"a": f"x {encoded}"}).replace("/", "\\/").encode()
    assert scrubber.json_line(line)[1] == {"a": "x [REDACTED:KEY]"}


def test_a_key_spelt_with_unusual_line_ends_is_taken_out_whole() -> None:
    scrubber = Scrubber()
    key = "-----BEGIN X-----\nAAAAAAAAAAAAAAAAAAAAAAAA\nlast==\n-----END X-----"
    scrubber.add("CERT_KEY", key)
    line = json.dumps({"k": key}).replace("\\n", "\\u000a").replace("X", "\\u0058")
    assert scrubber.json_line(line.encode())[1] == {"k": "[REDACTED:CERT_KEY]"}


def strings(value: Any, *, without: str = "") -> list[str]:
    if isinstance(value, str):
        return value.split(without) if without else [value]
    if isinstance(value, dict):
        return [
            s for pair in value.items() for part in pair for s in strings(part, without=without)
        ]
    if isinstance(value, list):
        return [s for item in value for s in strings(item, without=without)]
    return [json.dumps(value)]


SECRET = 'p"a\\s/s\nwörd1'
leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        [SECRET, f"x{SECRET}y", SECRET[:7], SECRET[7:], "88888888", "x8888888", json.dumps(SECRET)]
    ),
    st.sampled_from([88888888, 1888888889, 8888888]),
)
documents = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "b", SECRET, "88888888"]), inner, max_size=4),
        inner.map(json.dumps),
    ),
    max_leaves=12,
)


@given(documents, st.booleans(), st.sampled_from([None, 1]))
@example({SECRET: [88888888, json.dumps({"a": SECRET})]}, True, None)
def test_any_document_stays_one_and_tells_nothing(
    document: Any, ascii_only: bool, indent: int | None
) -> None:
    scrubber = Scrubber()
    scrubber.add("WORD", SECRET)
    scrubber.add("PIN", "88888888")
    line = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    clean, value = scrubber.json_line(line)
    again = json.loads(clean)
    for told in strings(again):
        assert SECRET not in told
        assert "88888888" not in told
        assert json.dumps(SECRET)[1:-1] not in told
    assert json.dumps(value) == json.dumps(json.loads(clean, parse_int=lambda d: value_of(d)))
    assert shape_of(again) == shape_of(json.loads(line))


def value_of(digits: str) -> float | int:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(number)


def shape_of(value: Any) -> Any:
    """The structure without its leaves; equal keys may have become one."""
    if isinstance(value, dict):
        return "object" if value else "empty object"
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return "leaf"


@given(st.binary(max_size=60))
def test_never_raises(line: bytes) -> None:
    scrubber = Scrubber()
    scrubber.add("KEY", "abcdef")
    for text in (line, b'{"a":"' + line + b'"}', b"[" + line + b"]"):
        clean, value = scrubber.json_line(text)
        assert isinstance(clean, bytes)
        try:
            expected = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        assert value == expected


@pytest.mark.parametrize(
    "line",
    [
        rb'{"a":"tok\/en-0123456789","a":"hides the first"}',
        rb'{"tok\/en-0123456789":1,"tok\/en-0123456789":2}',
        rb'{"a":[1,{"b":"\u0074ok\/en-0123456789"}],"n":' + b"9" * 5000 + b"}",
        rb'{"a":"{\"b\":\"tok\\\/en-0123456789\"}"}',
    ],
)
def test_escaped_secrets_are_found_wherever_a_string_can_stand(line: bytes):
    scrubber = Scrubber()
    scrubber.add("KEY", "tok/en-0123456789")
    clean, _ = scrubber.json_line(line)
    assert b"en-0123456789" not in clean
    assert b"[REDACTED:KEY]" in clean


@pytest.mark.parametrize("word", ["result", "success", "assistant", "session_id", "message"])
def test_a_secret_that_is_a_word_of_the_protocol_leaves_the_structure(word: str):
    native = {
        "type": "result",
        "subtype": "success",
        "session_id": "s",
        "message": {"role": "assistant", "content": [{"type": "text", "text": f"my {word}!"}]},
        "tool_result": 1,
    }
    scrubber = Scrubber()
    scrubber.add("WEAK", word)
    ((clean, value),) = scrubber.json_lines([orjson.dumps(native)])
    assert word.encode() not in clean
    native["message"]["content"][0]["text"] = "my [REDACTED:WEAK]!"  # type: ignore[index]
    assert value == native


def test_only_words_are_structure(scrubber: Scrubber):
    scrubber.add("WEAK", "result")
    native = {"some/secret-1": 1, "input": {"result": "result"}, "type": "12345678", "k": "result"}
    ((_, value),) = scrubber.json_lines([orjson.dumps(native)])
    assert value == {
        "[REDACTED:KEY]-1": 1,
        "input": {"[REDACTED:WEAK]": "[REDACTED:WEAK]"},
        "type": "[REDACTED:PIN]",
        "k": "[REDACTED:WEAK]",
    }
