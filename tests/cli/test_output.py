"""Printing: foreign text cannot control the terminal; tables and JSON keep their form."""

from __future__ import annotations

import json

import pytest

from agent_swarm_worker.cli.output import fit_line, plain, print_json, print_table
from agent_swarm_worker.text import columns

HOSTILE = "a\x1b[31mb\x07c\x7fd\x9b2Je\u202ef\u2066g\rh\x00i"
Capture = pytest.CaptureFixture[str]


def test_what_could_drive_a_terminal_is_taken_out():
    assert plain(HOSTILE) == "a[31mbcd2Jefghi"
    assert plain("two\nlines\tand a tab") == "two\nlines\tand a tab"
    assert plain("عربي 日本語 👩‍💻 é") == "عربي 日本語 👩‍💻 é"


def test_fit_line_folds_white_space():
    assert fit_line(" a\r\nb\t c\u2028d\x85e ", 80) == "a b c d e"
    assert fit_line(HOSTILE, 80).isprintable()


@pytest.mark.parametrize("width", [1, 2, 7, 20])
@pytest.mark.parametrize("text", ["abcdefghij" * 3, "日本語のテキスト" * 3, "éa" * 20, "a日" * 9])
def test_a_cut_line_fits(text: str, width: int):
    line = fit_line(text, width)
    assert columns(line) <= width
    assert columns(line) >= width - 1  # half of a wide character is not to be had
    assert line.endswith("…")


def test_a_line_that_fits_is_left_alone():
    assert fit_line("日本", 4) == "日本"
    assert fit_line("e\u0301" * 5, 5) == "e\u0301" * 5  # accents that are characters of their own
    assert fit_line("", 0) == ""


def test_columns_line_up_whatever_is_in_them(capsys: Capture):
    rows = [["日本", "x\x1b[0m", "first\nsecond"], ["a", "yy", ""]]
    print_table(["ONE", "TWO", "THREE"], rows)
    assert capsys.readouterr().out.splitlines() == [
        "ONE   TWO   THREE",
        "日本  x[0m  first",
        "            second",
        "a     yy",
    ]


def test_json_is_json_and_drives_no_terminal(capsys: Capture):
    value = {"said": HOSTILE, "日本": "\u2028", "number": 2**60}
    print_json(value)
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == value
