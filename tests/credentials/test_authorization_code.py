"""Parsing the redirect's query and pasted text."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.credentials.login import (
    begin,
    browser_command,
    challenge_of,
    code_of_paste,
    code_of_query,
)
from agent_swarm_worker.errors import LoginDenied, LoginError

STATE = "0123456789abcdef0123456789abcdef"
PLACE = "http://localhost:1455/auth/callback"


@pytest.mark.parametrize(
    "pasted",
    [
        f"{PLACE}?code=ac_1-2&scope=openid&state={STATE}",
        f"{PLACE}?state={STATE}&code=ac_1-2#_=_",
        f"  '{PLACE}?code=ac_1-2&state={STATE}'\r",
        f"/auth/callback?code=ac_1-2&state={STATE}",
        f"{PLACE}?code=ac_1-\n 2&state={STATE}",  # broken over two lines of a narrow terminal
        f"\x1b[200~{PLACE}?code=ac_1-2&state={STATE}\x1b[201~",
        f"code=ac_1-2&state={STATE}",
        "code=ac_1-2",
        f"ac_1-2#{STATE}",
        "ac_1-2",
        f"{PLACE}?code=ac_1-2",
    ],
)
def test_every_form_of_a_paste(pasted: str):
    assert code_of_paste(pasted, STATE) == "ac_1-2"


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("ac_1-2#", "State mismatch"),
        (f"ac_1-2#{STATE}0", "State mismatch"),
        (f"{PLACE}?code=ac_1-2&state=", "State mismatch"),
        (f"code=x&state={quote('é')}", "State mismatch"),
        (PLACE, "Missing authorization code"),
        (f"{PLACE}?state={STATE}", "Missing authorization code"),
        (f"{PLACE}?code=&state={STATE}", "Missing authorization code"),
        ("#", "State mismatch"),
        ("ü", "Missing authorization code"),
        (f"{PLACE}?error=access_denied&state={STATE}", "access_denied"),
        (f"{PLACE}?error=access_denied", "access_denied"),
        ("error=something-of-theirs", "ended the login with an error"),
    ],
)
def test_a_paste_that_is_no_code(pasted: str, said: str):
    with pytest.raises(LoginError, match=said) as caught:
        code_of_paste(pasted, STATE)
    assert "ac_1" not in str(caught.value)
    assert "of-theirs" not in str(caught.value)


def test_the_browser_has_to_bring_the_state():
    assert code_of_query(f"code=a&state={STATE}", STATE) == "a"
    for query in ("code=a", "code=a&state=", f"code=a&state={STATE}x", ""):
        with pytest.raises(LoginError, match="State mismatch"):
            code_of_query(query, STATE)
    with pytest.raises(LoginDenied, match="access_denied"):
        code_of_query(f"error=access_denied&state={STATE}", STATE)
    with pytest.raises(LoginError, match="State mismatch"):
        code_of_query("error=access_denied&state=other", STATE)


@given(st.text(max_size=200))
def test_any_paste_ends_in_a_code_or_in_words(pasted: str):
    try:
        code = code_of_paste(pasted, STATE)
    except LoginError:
        return
    assert code.isascii()
    assert code.isprintable()


def test_the_proof_is_that_of_the_standard():
    # The example of RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    one, other = begin("https://x", 1455), begin("https://x", 1455)
    assert len(one.verifier) == 43
    assert one.state != other.state
    assert one.verifier != other.verifier
    assert one.verifier not in one.url
    assert one.redirect_uri == PLACE


@pytest.mark.parametrize(
    ("platform", "program"), [("linux", "xdg-open"), ("darwin", "open"), ("win32", "rundll32")]
)
def test_each_platform_has_its_own_opener_and_no_shell(platform: str, program: str):
    url = "https://x/?a=1&b=$(reboot)"
    words = browser_command(url, {"DISPLAY": ":0"}, platform)
    assert words[0] == program
    assert url in words[-1]
    assert not {"sh", "cmd", "-c", "/c"} & set(words)
    assert browser_command(url, {}, "linux") == ()
