"""Whatever a secret looks like, however it is written and wherever it is cut, it is taken out.

Held against `naive`, which shares no code with the scrubber. Two bounds: of a promised form
nothing is left; and what is no part of any needle comes out unchanged and in its order.
"""

from __future__ import annotations

import json
import string
from base64 import b64encode, urlsafe_b64encode
from itertools import pairwise

import pytest
from guards_doubles import open_bytes
from hypothesis import example, given
from hypothesis import strategies as st
from naive import every_level, forms, values_in, what_is_left

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

AWKWARD = {
    "periodic": "aabaab",
    "inner prefix": "xyxyz-secret",
    "zeros": "0010-token",
    "one letter": "a" * 24,
    "quotes": "pä\"ss\\w/o<r>d&'+ =%~",
    "json": '{"a":["b',
    "json syntax": '","id":',
    "a pool": "tok-aaaaaaaaaaaa,tok-bbbbbbbbbbbb",
    "lines": "first line of a key file\nsecond line of a key file\nfi",
    "tabs": "tab\tand\nnewline",
    "our own words": "REDACTED",
    "half a placeholder": "[REDACTED:x",
    "digits": "8675309867",
    "escape": "\\u0041\\n",
    "ends in a backslash": "secret\\",
    "not UTF-8": "caf\udce9-\udcff-secret",
    "emoji": "key😀ключ",
    "percent": "100%41%zz",
}
FRAME = "[]{}(),:;<> \n\t|"
"""Around a secret: nothing that could continue one of its encodings."""


def knowing(*secrets: str) -> Scrubber:
    scrubber = Scrubber(on_too_short=lambda _: None)
    for number, secret in enumerate(secrets):
        scrubber.add(f"S{number}", secret)
    return scrubber


def through(scrubber: Scrubber, chunks: list[bytes]) -> bytes:
    stream = scrubber.stream()
    return b"".join([*map(stream.feed, chunks), stream.close()])


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    while at < len(data):
        chunks.append(data[at : at + sizes[len(chunks) % len(sizes)]])
        at += len(chunks[-1])
    return chunks


# Short alphabets, so that secrets overlap, repeat, and begin and end like each other.
few_letters = st.one_of(
    st.text("ab", min_size=6, max_size=10),
    st.text("01-", min_size=6, max_size=10),
    st.builds(lambda unit, times: (unit * times)[:20], st.text("xyz", min_size=1), st.just(20)),
)
any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=6, max_size=16)
secrets = st.one_of(
    few_letters,
    any_text.filter(lambda text: text == text.strip()),
    st.text(string.printable, min_size=6, max_size=16).filter(lambda text: text == text.strip()),
    st.sampled_from(list(AWKWARD.values())),
)


# --- of a promised form nothing is left
@pytest.mark.parametrize("name", AWKWARD)
def test_every_promised_form_of_an_awkward_secret_is_found_at_every_cut(name: str) -> None:
    scrubber = knowing(AWKWARD[name])
    for value in values_in(AWKWARD[name]):
        for form, needle in forms(value).items():
            data = b"<" + needle + b">"
            whole = scrubber.data(data)
            left = what_is_left(whole)
            assert not any(needle in piece for piece in left), form
            assert (left[0], left[-1]) == (b"<", b">"), form
            for size in (1, 2, 3, 5):
                assert through(scrubber, cut(data, [size])) == whole, form
            for at in range(0, len(data), 1 + len(data) // 40):
                assert through(scrubber, [data[:at], data[at:]]) == whole, form


@given(secrets, st.text(FRAME, max_size=4), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_every_promised_form_of_any_secret(secret: str, frame: str, sizes: list[int]) -> None:
    scrubber = knowing(secret)
    around = frame.encode()
    for form, needle in forms(secret).items():
        data = around + needle + around
        assert needle not in b"\0".join(what_is_left(scrubber.data(data))), form
        assert through(scrubber, cut(data, sizes)) == scrubber.data(data), form


@given(st.binary(max_size=5), few_letters | any_text, st.binary(max_size=5))
def test_base64_in_any_company(before: bytes, secret: str, after: bytes) -> None:
    scrubber = knowing(secret)
    raw = secret.strip().encode()
    if len(secret.strip()) < 6:
        return
    for encode in (b64encode, urlsafe_b64encode):
        blob = encode(before + raw + after)
        first = -(-len(before) * 8 // 6)
        core = blob[first : (len(before) + len(raw)) * 8 // 6]
        assert core not in scrubber.data(blob)


# --- nothing else is touched, and no cut makes a difference
@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], bytes, list[int]]:
    known = draw(st.lists(few_letters, min_size=1, max_size=3, unique=True))
    known += [known[0] + draw(few_letters), known[-1][1:] + "ab"]
    pieces = st.one_of(
        st.sampled_from(known),
        st.sampled_from([value[: 1 + len(value) // 2] for value in known]),
        st.sampled_from([value[len(value) // 2 :] for value in known]),
        st.text("ab01-xyz \n", max_size=5),
    )
    text = "".join(draw(st.lists(pieces, max_size=10)))
    return known, text.encode(), draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))


@given(cases())
@example((["aabaab"], b"aaabaabaab", [1]))
@example((["xyxyz-secret"], b"xyxyxyz-secret", [4, 3]))
@example((["0010-token"], b"00010-token0010-token", [2]))
@example((["aaaaaa", "aaaaaaaaa"], b"a" * 31, [7, 1]))
@example((["abcdef", "defghi", "cdefgh"], b"abcdefghi abcdefg", [3]))
def test_what_is_no_secret_is_unchanged_and_in_order(case: tuple[list[str], bytes, list[int]]):
    known, data, sizes = case
    scrubber = knowing(*known)
    clean = scrubber.data(data)
    by_name = {f"S{number}": value for number, value in enumerate(known)}
    assert what_is_left(clean) == open_bytes(by_name, data)
    assert through(scrubber, cut(data, sizes)) == clean
    assert through(scrubber, cut(data, [1])) == clean


def test_what_looks_like_a_secret_to_the_eye_only_is_let_through() -> None:
    # The stated trade: what other software does not take for the value is not the value.
    scrubber = knowing("pässword", "ßecret-\ufb01le")
    for alike in ("pa\u0308ssword", "p\u0430ssword", "PÄSSWORD", "SSecret-file", "p\u200bässword"):
        assert scrubber.text(alike) == alike


# --- values that come while the stream flows
@given(few_letters, few_letters, st.integers(0, 40), st.integers(0, 40))
@example("aabaab", "abaaba", 8, 9)
def test_a_value_added_in_the_middle_of_a_match(first: str, second: str, at: int, later: int):
    scrubber = knowing(first)
    data = b"<" + first.encode() + b"|" + second.encode() + b"|" + first.encode() + b">"
    stream = scrubber.stream()
    at = min(at, len(data))
    out = stream.feed(data[:at])
    scrubber.add("LATE", second)
    out += stream.feed(data[at : at + later]) + stream.feed(data[at + later :]) + stream.close()
    left = what_is_left(out)
    assert not any(first.encode() in piece for piece in left)
    # A value counts from the moment it is known: of a later occurrence nothing is left.
    if at <= len(first) + 2:
        assert not any(second.encode() in piece for piece in left)
    assert (out[:1], out[-1:]) == (b"<", b">")


@given(st.lists(few_letters, min_size=3, max_size=3, unique=True), st.integers(1, 6))
def test_rotated_values_are_never_forgotten(values: list[str], size: int) -> None:
    scrubber, stream_of_all = knowing(), b""
    stream = scrubber.stream()
    for value in values:
        scrubber.add("KEY", value)
        for chunk in cut(b"".join(b"<%b>" % known.encode() for known in values), [size]):
            stream_of_all += stream.feed(chunk)
        stream_of_all += b"" if value != values[-1] else stream.close()
    last = stream_of_all[-len(b"".join(b"<%b>" % b"[REDACTED:KEY]" for _ in values)) :]
    assert last == b"<[REDACTED:KEY]>" * 3


# --- long ones
@pytest.mark.parametrize(
    ("unit", "size"), [("0123456789abcdef", 100_000), ("a", 20_000), ('"\\', 20_000)]
)
def test_a_very_long_secret(unit: str, size: int) -> None:
    secret = (unit * size)[:size]
    scrubber = knowing(secret)
    data = f"<{secret}|{secret[:-1]}!>".encode()
    clean = scrubber.data(data)
    assert clean.startswith(b"<[REDACTED:S0]|")
    assert through(scrubber, cut(data, [8192])) == clean
    line = json.dumps({"k": [secret]}).encode()
    assert scrubber.json_line(line)[1] == {"k": ["[REDACTED:S0]"]}


# --- JSON
def thrice(text: str) -> bytes:
    return json.dumps(json.dumps(json.dumps(text))).encode()


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, bytes]:
    """A secret as a key, a value or a part of either, in JSON in JSON in JSON."""
    secret = draw(st.one_of(few_letters, st.sampled_from(list(AWKWARD.values())), any_text))
    around = draw(st.tuples(st.text(FRAME, max_size=3), st.text(FRAME, max_size=3)))
    text: object = around[0] + secret + around[1]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["value", "key", "item", "string"]))
        match kind:
            case "value":
                text = {"a": text}
            case "key":
                text = {str(text): 1}
            case "item":
                text = [1, text, None]
        text = _escaped(draw, json.dumps(text, ensure_ascii=draw(st.booleans())))
    return secret, str(text).encode("utf-8", "surrogateescape")


def _escaped(draw: st.DrawFn, text: str) -> str:
    """Spell some of the plain characters inside the strings as escapes, as JSON allows."""
    if not draw(st.booleans()):
        return text
    every, out, quoted, skip = draw(st.integers(1, 4)), [], False, False
    for number, (char, following) in enumerate(pairwise(text + " ")):
        if char == '"' and not skip:
            quoted = not quoted
        plain = quoted and not skip and char not in '"\\' and char.isascii() and following
        out.append(f"\\u{ord(char):04x}" if plain and number % every == 0 else char)
        skip = char == "\\" and not skip
    return "".join(out)


@given(documents())
@example(("some-secret", rb'{"a":"{\"b\":\"som\\u0065-secret\"}"}'))
@example(("some/secret", rb'{"a":"[\"some\\/secret\"]"}'))
@example(('quo"ted\\secret', b'{"a":%b}' % thrice('["quo\\"ted\\\\secret"]')))
@example(("8675309867", b'{"n":[-86753098670.5e3,8675309867],"8675309867":0}'))
def test_a_secret_in_json_in_json_in_json(case: tuple[str, bytes]) -> None:
    secret, line = case
    clean, value = knowing(secret).json_line(line)
    if value is not None:
        assert json.loads(clean) is not None
    said = secret.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
    for text in every_level(clean.decode("utf-8", "replace")):
        for piece in what_is_left(text.encode("utf-8", "replace")):
            assert said.encode("utf-8", "replace") not in piece, text


@given(st.lists(documents(), min_size=1, max_size=3), st.integers(1, 7))
def test_a_stream_of_json_lines_keeps_what_can_be_kept(case: list[tuple[str, bytes]], size: int):
    """Streams know no JSON: the plain forms go, one line after the other, and lines stay lines."""
    scrubber = knowing(*(secret for secret, _ in case))
    data = b"\n".join(line for _, line in case)
    clean = through(scrubber, cut(data, [size]))
    assert clean == scrubber.data(data)
    for secret, _ in case:
        raw = secret.strip().encode("utf-8", "surrogateescape")
        assert not any(raw in piece for piece in what_is_left(clean))
