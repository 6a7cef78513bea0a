"""The scrubber takes out what it knows, all of it and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from guards_doubles import hidden_bytes, open_bytes
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

PLACEHOLDER = re.compile(rb"\[REDACTED:[^\]]*\]")


def knowing(secrets: dict[str, str]) -> Scrubber:
    scrubber = Scrubber(on_too_short=lambda _: None)
    for name, value in secrets.items():
        scrubber.add(name, value)
    return scrubber


def test_reference_vectors() -> None:
    scrubber = Scrubber()
    scrubber.add_env(
        {"FOO_API_KEY": "abcdefghijklmnop", "POOL_TOKEN": "tok-aaaaaaaaaaaa,tok-bbbbbbbbbbbb"}
    )
    assert scrubber.text("x abcdefghijklmnop y") == "x [REDACTED:FOO_API_KEY] y"
    clean = scrubber.text("tok-aaaaaaaaaaaa and tok-bbbbbbbbbbbb")
    assert clean == "[REDACTED:POOL_TOKEN] and [REDACTED:POOL_TOKEN]"
    clean = scrubber.text("data\\nlin_oauth_test123abcdef\\nmore")
    assert clean == "data\\n[REDACTED:linear_oauth]\\nmore"


@pytest.mark.parametrize(
    ("data", "clean"),
    [
        ("abcdefghi", "[REDACTED:A]"),  # the two share def
        ("abcdef ghi", "[REDACTED:A] ghi"),
        ("abcdefabcdef", "[REDACTED:A][REDACTED:A]"),
        ("abcdefxyzxyz", "[REDACTED:A][REDACTED:C]"),
        ("xyzxyzxyz", "[REDACTED:C]"),  # it overlaps itself
        ("abcdexyzxy", "abcdexyzxy"),
    ],
)
def test_overlapping_and_adjacent_secrets(data: str, clean: str) -> None:
    assert knowing({"A": "abcdef", "B": "defghi", "C": "xyzxyz"}).text(data) == clean


def test_the_longest_of_nested_secrets_gives_the_name() -> None:
    scrubber = knowing({"SHORT": "abcdef", "LONG": "abcdefghi"})
    assert scrubber.text("abcdefghi abcdef") == "[REDACTED:LONG] [REDACTED:SHORT]"


def test_the_first_name_of_a_value_stays() -> None:
    scrubber = knowing({"FIRST": "same-value", "SECOND": "same-value"})
    assert scrubber.text("same-value") == "[REDACTED:FIRST]"


def test_a_session_knows_what_its_process_learns_later() -> None:
    process = Scrubber()
    session = Scrubber(process)
    stream = session.stream()
    assert session.text("early-secret late-secret own-secret") == (
        "early-secret late-secret own-secret"
    )
    process.add("EARLY", "early-secret")
    session.add("OWN", "own-secret")
    assert session.text("early-secret own-secret") == "[REDACTED:EARLY] [REDACTED:OWN]"
    process.add("LATE", "late-secret")
    assert session.text("late-secret") == "[REDACTED:LATE]"
    assert stream.feed(b"late-secret\n") == b"[REDACTED:LATE]\n"
    assert process.text("own-secret") == "own-secret"
    session.add("ALIAS", "early-secret")
    assert session.text("early-secret") == "[REDACTED:EARLY]"


def test_rotation_to_a_value_of_equal_length() -> None:
    scrubber = knowing({"KEY": "old-value-1"})
    assert scrubber.text("old-value-1 new-value-2") == "[REDACTED:KEY] new-value-2"
    scrubber.add("KEY", "new-value-2")
    assert scrubber.text("old-value-1 new-value-2") == "[REDACTED:KEY] [REDACTED:KEY]"


def test_short_secrets_are_reported_once_by_name() -> None:
    reported: list[str] = []
    process = Scrubber(on_too_short=reported.append)
    session = Scrubber(process)
    for scrubber in (process, session, process):
        scrubber.add_env({"SHORT_TOKEN": "abc", "EMPTY_TOKEN": "", "BLANK_TOKEN": "  "})
    assert reported == ["SHORT_TOKEN"]
    assert process.text("abc") == "abc"


def test_short_secrets_are_logged_without_their_value(capsys: pytest.CaptureFixture[str]) -> None:
    Scrubber().add("SHORT_TOKEN", "qzx")
    logged = "".join(capsys.readouterr())
    assert "secret.too_short" in logged
    assert "SHORT_TOKEN" in logged
    assert "qzx" not in logged


@pytest.mark.parametrize("value", ["REDACTED", "[REDACTED", "REDACTED:KEY]", "[REDACTED:KEY]"])
def test_placeholders_are_never_eaten(value: str) -> None:
    scrubber = knowing({"KEY": value, "OTHER": "other-secret"})
    once = scrubber.text(f"other-secret then {value} and ghp_0123456789abcdefghij")
    assert once.count("[REDACTED:KEY]") == 1
    assert "[REDACTED:OTHER] then" in once
    assert scrubber.text(once) == once


def test_only_our_own_placeholders_are_left_alone() -> None:
    scrubber = knowing({"KEY": "hidden-secret"})
    assert scrubber.text("[REDACTED:hidden-secret]") == "[REDACTED:[REDACTED:KEY]]"


def test_names_cannot_break_what_they_are_put_into() -> None:
    scrubber = knowing({'a"b\\c\n]': "some-secret", "x" * 200: "other-secret", "": "third-secret"})
    assert scrubber.text("some-secret") == "[REDACTED:a_b_c_]"
    assert scrubber.text("other-secret") == f"[REDACTED:{'x' * 64}]"
    assert scrubber.text("third-secret") == "[REDACTED:secret]"
    assert scrubber.json_line(b'{"k":"some-secret"}')[1] == {"k": "[REDACTED:a_b_c_]"}


def test_text_of_any_kind_comes_back_unchanged() -> None:
    scrubber = knowing({"KEY": "some-secret"})
    for text in ("", "é😀", "\ud800", "caf\udce9 x", "\x00"):
        assert scrubber.text(text) == text
        assert scrubber.text(text + "some-secret" + text) == text + "[REDACTED:KEY]" + text


def test_leaves_scrubs_keys_and_values_at_any_depth() -> None:
    scrubber = knowing({"KEY": "some-secret"})
    value: Any = {"some-secret": ["x some-secret", 1, None, True, 2.5, ("some-secret",)]}
    assert scrubber.leaves(value) == {
        "[REDACTED:KEY]": ["x [REDACTED:KEY]", 1, None, True, 2.5, ["[REDACTED:KEY]"]]
    }
    assert value["some-secret"][0] == "x some-secret"
    assert scrubber.leaves("some-secret") == "[REDACTED:KEY]"
    deep: Any = "some-secret"
    for _ in range(5000):
        deep = [deep]
    clean = scrubber.leaves(deep)
    while isinstance(clean, list):
        clean = clean[0]
    assert clean == "[REDACTED:KEY]"


# Few letters, so that secrets overlap, repeat and begin like each other.
secret_values = st.text("ab-0", min_size=6, max_size=12)
secret_sets = st.lists(secret_values, min_size=1, max_size=4, unique=True).map(
    lambda values: {f"S{number}": value for number, value in enumerate(values)}
)


@st.composite
def texts_with_secrets(draw: st.DrawFn) -> tuple[dict[str, str], bytes]:
    secrets = draw(secret_sets)
    pieces = st.one_of(
        st.sampled_from(list(secrets.values())),
        st.sampled_from([value[: len(value) // 2] for value in secrets.values()]),
        st.text('ab-0 "\\\n', max_size=6),
    )
    return secrets, "".join(draw(st.lists(pieces, max_size=12))).encode()


@given(texts_with_secrets())
def test_agrees_with_looking_everywhere_for_everything(case: tuple[dict[str, str], bytes]) -> None:
    secrets, data = case
    clean = knowing(secrets).data(data)
    assert PLACEHOLDER.split(clean) == open_bytes(secrets, data)
    assert len(PLACEHOLDER.findall(clean)) == len(hidden_bytes(secrets, data))
