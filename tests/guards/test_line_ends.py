"""Secrets that line ends divide: wrapped base64, and the short lines of a key."""

from __future__ import annotations

import base64
import json
import random
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

SECRET = "xK9-vQ2mWz7_pLr4TnB8cYd1"
LONG = "".join(random.Random(7).choices("abcdefghijkLMNOPQRSTUV0123456789-_", k=150))
KEY_LINES = textwrap.wrap(base64.b64encode(random.Random(8).randbytes(200)).decode(), 64)
PEM = "\n".join(["-----BEGIN DATA-----", *KEY_LINES, "-----END DATA-----"])


def scrubber_of(*values: str) -> Scrubber:
    scrubber = Scrubber()
    for value in values:
        scrubber.add("S", value)
    return scrubber


def wrapped(text: str, width: int, line_end: str = "\n") -> str:
    return line_end.join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n    ", "\n\t"])
@pytest.mark.parametrize("width", [64, 76])
@pytest.mark.parametrize("value", [SECRET, LONG], ids=["short", "long"])
def test_wrapped_base64_is_found_wherever_the_lines_end(
    value: str, width: int, line_end: str
) -> None:
    scrubber = scrubber_of(value)
    for before in range(width + 3):
        blob = base64.b64encode(b"v" * before + value.encode() + b"=after it\n").decode()
        expected = scrubber.text(blob)
        assert "[REDACTED:S]" in expected
        text = wrapped(blob, width, line_end)
        assert scrubber.text(text).replace(line_end, "") == expected
        line = json.dumps({"out": text, "nested": json.dumps([text])})
        clean, parsed = scrubber.json_line(line.encode())
        assert parsed["out"].replace(line_end, "") == expected
        assert json.loads(parsed["nested"])[0].replace(line_end, "") == expected
        assert json.loads(clean) == parsed


@given(st.integers(0, 80), st.lists(st.integers(1, 90), min_size=1), st.sampled_from([64, 76]))
def test_it_is_found_in_a_stream_however_it_is_read(
    before: int, sizes: list[int], width: int
) -> None:
    blob = base64.b64encode(b"v" * before + LONG.encode() + b"!" * 30).decode()
    text = f"here: {wrapped(blob, width)}\nthe end\n".encode()
    scrubber = scrubber_of(LONG)
    stream, parts, at = scrubber.stream(), [], 0
    for size in sizes * len(text):
        parts.append(stream.feed(text[at : at + size]))
        at += size
        if at >= len(text):
            break
    found = b"".join([*parts, stream.close()])
    assert b"[REDACTED:S]" in found
    # If it begins right before a line end, and a read ends there, its first bytes are out already.
    whole = scrubber.data(text)
    assert len(found) - len(whole) <= 8
    assert found.split(b"[REDACTED:S]")[1] == whole.split(b"[REDACTED:S]")[1]


def test_a_line_is_not_held_back_for_what_may_follow() -> None:
    stream = scrubber_of(SECRET, LONG).stream()
    for line in (b"warning: done\n", b"x\n", b"something-long\n", b"\n"):
        assert stream.feed(line) == line


def test_lines_of_text_that_share_a_secret_are_scrubbed_together() -> None:
    scrubber = scrubber_of(LONG, PEM)
    blob = wrapped(base64.b64encode(f"A={LONG}".encode()).decode(), 76)
    printed = [b'{"type":"x"}', *blob.encode().split(b"\n"), b"done", *PEM.encode().split(b"\n")]
    clean = [line for line, _ in scrubber.json_lines(printed)]
    encoded = len(blob.split("\n"))
    assert clean[0], clean[encoded + 1] == (printed[0], b"done")
    assert clean[1].endswith(b"[REDACTED:S]")
    assert all(line.startswith(b"[REDACTED:S]") for line in clean[2 : encoded + 1])
    assert set(clean[encoded + 3 : -1]) == {b"[REDACTED:S]"}
    assert KEY_LINES[-1].encode() not in b"\n".join(clean)


def test_the_short_last_line_of_a_key_is_found() -> None:
    last = KEY_LINES[-1]
    assert 6 <= len(last) < 16
    scrubber = scrubber_of(PEM)
    assert scrubber.text(f"the last is {last}.") == "the last is [REDACTED:S]."
    for ending in ("\n", "\r\n", "\\n", " ", "\n      "):
        shown = ending.join([*KEY_LINES[-2:], "-----END"])
        assert scrubber.text(shown).replace(ending, "") == "[REDACTED:S]-----END".replace(" ", "")
    clean, _ = scrubber.json_line(json.dumps({"tail": "\n".join(KEY_LINES[-2:])}).encode())
    assert json.loads(clean) == {"tail": "[REDACTED:S]"}


@pytest.mark.parametrize("last", ["a", "Qw==", "fi"])
def test_a_very_short_last_line_is_found_behind_the_one_before_it(last: str) -> None:
    scrubber = scrubber_of(f"{KEY_LINES[0]}\n{last}\n")
    assert scrubber.text(f"{KEY_LINES[0]}\n{last}\n") == "[REDACTED:S]\n"
    assert scrubber.text(f"{KEY_LINES[0]}\r\n{last}|") == "[REDACTED:S]|"
    assert scrubber.text(f"this is {last}.") == f"this is {last}."


def test_words_between_long_lines_stay_words() -> None:
    scrubber = scrubber_of("#!/bin/sh -e and so on\nexport\nreturn\na long line of the script")
    assert scrubber.text("export and return") == "export and return"


def test_a_key_is_found_with_other_line_ends() -> None:
    body = "".join(KEY_LINES)
    scrubber = scrubber_of(PEM)
    assert scrubber.text(body) == "[REDACTED:S]"
    assert scrubber.text(wrapped(body, 70)) == "[REDACTED:S]"
