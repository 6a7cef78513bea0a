"""``swarm-worker login``: its output, and every failure."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from cli_rig import KEY, bare_env, call, running, scripted_api
from login_rig import (
    BROKEN_BROWSER,
    BROWSER,
    IDLE_BROWSER,
    login_env,
    on_terminal,
    put_row,
    quick_swarm,
    slots,
)
from oauth_server import ACCOUNT, OAuthServer, jwt, stored
from patience import until_blocking

from agent_swarm_worker.cli.app import main
from agent_swarm_worker.credentials.vendor import issuer_of
from agent_swarm_worker.errors import BadSetting

PASTE_PROMPT = "Or paste the authorization code"
ADDRESS = r"(http://127\.0\.0\.1:\d+/oauth/authorize\?\S+)"


@pytest.fixture
def swarm() -> Iterator[str]:
    with quick_swarm() as url:
        yield url


def assert_no_secret(vendor: OAuthServer, *texts: str) -> None:
    assert vendor.issued
    for secret in vendor.issued:
        assert all(secret not in text for text in texts), texts


def one_line(errors: str) -> str:
    """The error is one line, after what was noticed on the way."""
    lines = [line for line in errors.splitlines() if line.startswith("swarm-worker: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


# --- the ways in
def test_a_browser_is_opened_and_brings_the_login_back(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    code, output, errors = call("login", "--port", "0", env=env)
    assert code == 0, errors
    row = slots(swarm)["codex_oauth_0"]
    value = json.loads(row["value"])
    assert value["access"] == vendor.issued[1]
    assert value["refresh"] == vendor.issued[2]
    assert value["accountId"] == ACCOUNT
    assert abs(value["expires"] / 1000 - time.time() - 10 * 24 * 3600) < 60
    assert set(value) == {"access", "refresh", "expires", "accountId"}
    assert (row["scope"], row["isSecret"]) == ("global", True)
    assert row["description"] == "Codex ChatGPT OAuth credentials slot 0 (stored by codex-login)"
    assert "stored in slot 0" in output
    assert ACCOUNT not in output
    assert_no_secret(vendor, output, errors)


def test_the_question_is_what_the_vendor_expects(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    _, output, _ = call("login", "--port", "0", env=env)
    address = next(line.strip() for line in output.splitlines() if "/oauth/authorize?" in line)
    query = parse_qs(urlsplit(address).query)
    assert list(query) == [
        "response_type", "client_id", "redirect_uri", "scope", "code_challenge",
        "code_challenge_method", "state", "id_token_add_organizations",
        "codex_cli_simplified_flow", "originator",
    ]  # fmt: skip
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["code_challenge"][0]) == 43
    assert len(query["state"][0]) == 32
    assert query["scope"] == ["openid profile email offline_access"]
    assert query["redirect_uri"][0].startswith("http://localhost:")
    form = vendor.exchanges[0]
    assert set(form) == {"grant_type", "client_id", "code", "code_verifier", "redirect_uri"}
    assert len(form["code_verifier"]) == 43


def test_it_ends_by_itself_after_the_browser_although_a_paste_was_asked_for(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    with on_terminal("login", "--port", "0", env=env) as terminal:
        terminal.until("Logged in")
        assert terminal.ended(within_s=5) == 0
        assert PASTE_PROMPT in terminal.shown
        assert_no_secret(vendor, terminal.shown)


@pytest.mark.parametrize("form", ["address", "code-and-state", "query", "code"])
def test_what_is_pasted_on_a_terminal_logs_in(
    tmp_path: Path, swarm: str, vendor: OAuthServer, form: str
):
    env = login_env(tmp_path, vendor, swarm)
    with on_terminal("login", "--port", "0", "--no-browser", env=env) as terminal:
        target = vendor.consent_url(terminal.until(ADDRESS)[1])
        query = {k: v[0] for k, v in parse_qs(urlsplit(target).query).items()}
        terminal.until(PASTE_PROMPT)
        pasted = {
            "address": target,
            "code-and-state": f"{query['code']}#{query['state']}",
            "query": urlsplit(target).query,
            "code": query["code"],
        }[form]
        terminal.type(f"{pasted}\n")
        assert terminal.ended() == 0, terminal.shown
    assert json.loads(slots(swarm)["codex_oauth_0"]["value"])["accountId"] == ACCOUNT


def test_a_pipe_may_bring_the_paste_as_well(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    with running("login", "--port", "0", "--no-browser", env=env, place=tmp_path, stdin=-1) as (
        process,
        said,
    ):
        until_blocking(lambda: PASTE_PROMPT in said())
        address = next(line.strip() for line in said().splitlines() if "/authorize?" in line)
        assert process.stdin is not None
        process.stdin.write(vendor.consent_url(address).encode() + b"\n")
        process.stdin.flush()  # and stays open
        try:
            assert process.wait(10) == 0, said()
        finally:
            process.stdin.close()


def test_an_empty_paste_is_asked_for_once_more(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    with on_terminal("login", "--port", "0", "--no-browser", env=env) as terminal:
        terminal.until(PASTE_PROMPT)
        terminal.type("\n")
        terminal.until("Paste the authorization code .or the full")
        terminal.type("\n")
        assert terminal.ended() == 1
        assert "Missing authorization code" in terminal.shown


def test_the_key_of_the_swarm_is_asked_for_without_showing_it(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    del env["API_KEY"]
    with on_terminal("login", "--port", "0", env=env) as terminal:
        terminal.until("API key of the swarm at http")
        until_blocking(lambda: not terminal.echoes())
        terminal.type(f"{KEY[:5]}xx\x7f\x7f{KEY[5:]}\n")  # with a mistake, taken back
        terminal.until("Logged in")
        assert terminal.ended() == 0
        assert terminal.echoes()
        assert KEY[:5] not in terminal.shown


def test_an_interrupt_at_the_hidden_question_gives_the_terminal_back(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    env = login_env(tmp_path, vendor, swarm)
    del env["API_KEY"]
    with on_terminal("login", env=env) as terminal:
        terminal.until("API key of the swarm")
        until_blocking(lambda: not terminal.echoes())
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 130
        assert terminal.echoes()


# --- the callback
def test_a_port_that_is_busy_leaves_the_paste(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with on_terminal("login", "--port", str(port), "--no-browser", env=env) as terminal:
            target = vendor.consent_url(terminal.until(ADDRESS)[1])
            assert f"Port {port} of this machine cannot be listened on" in terminal.shown
            assert f"localhost:{port}/auth/callback" in target
            terminal.type(f"{target}\n")
            assert terminal.ended() == 0, terminal.shown


def callback_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["redirect_uri"][0].replace("localhost", "127.0.0.1")


def test_a_callback_with_another_state_is_refused_and_the_wait_goes_on(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    env = login_env(tmp_path, vendor, swarm)
    with on_terminal("login", "--port", "0", "--no-browser", env=env) as terminal:
        address = terminal.until(ADDRESS)[1]
        callback = callback_of(address)
        for query, status, said in (
            ("?code=stolen&state=other", 400, "State mismatch"),
            ("?code=stolen", 400, "State mismatch"),
            (f"?state={parse_qs(urlsplit(address).query)['state'][0]}", 400, "Missing"),
        ):
            answer = httpx2.get(callback + query)
            assert (answer.status_code, said in answer.text) == (status, True), query
        assert httpx2.get(callback.replace("/auth/callback", "/else")).status_code == 404
        assert httpx2.post(callback, data={"code": "x"}).status_code == 405
        host, port = urlsplit(callback).netloc.split(":")
        for junk in (b"\x16\x03\x01\x00\xa5", b"GET\r\n\r\n", b"A" * 40_000, b""):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(junk)
        assert not vendor.exchanges
        target = vendor.consent_url(address).replace("localhost", "127.0.0.1")
        answer = httpx2.get(target)
        assert answer.status_code == 200
        assert "close this page" in answer.text
        assert terminal.ended() == 0, terminal.shown


def test_only_loopback_listens(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    with on_terminal("login", "--port", "0", "--no-browser", env=env) as terminal:
        port = urlsplit(callback_of(terminal.until(ADDRESS)[1])).port
        terminal.until(PASTE_PROMPT)
        rows = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        mine = [row.split()[1] for row in rows.splitlines() if f":{port:04X} " in row[:50]]
        listening = {place.partition(":")[0] for place in mine}
        assert listening <= {"0100007F", "00000000000000000000000001000000"}
        assert listening


# --- failures, each in one line
@pytest.mark.parametrize("way", ["callback", "paste"])
def test_access_denied_ends_with_its_own_line(
    tmp_path: Path, swarm: str, vendor: OAuthServer, way: str
):
    vendor.denies = True
    browser = BROWSER if way == "callback" else ""
    env = login_env(tmp_path, vendor, swarm, browser=browser)
    with on_terminal("login", "--port", "0", env=env) as terminal:
        if way == "paste":
            terminal.type(f"{vendor.consent_url(terminal.until(ADDRESS)[1])}\n")
        assert terminal.ended() == 1
    assert "swarm-worker: the login was declined in the browser (access_denied)" in terminal.shown
    assert not slots(swarm)


def test_a_pasted_state_mismatch_ends_it(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    code, _, errors = piped("http://localhost:1455/auth/callback?code=a&state=other", env)
    assert code == 1
    assert "State mismatch" in one_line(errors)
    assert not vendor.exchanges


def test_a_pasted_address_without_a_code_ends_it(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    code, _, errors = piped("http://localhost:1455/auth/callback", env)
    assert code == 1
    assert "Missing authorization code" in one_line(errors)


def piped(text: str, env: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Run a login to which this is pasted."""
    path = Path(env["HOME"]) / "pasted"
    path.write_text(f"{text}\n")
    with path.open("rb") as file:
        return call("login", "--port", "0", "--no-browser", *words, env=env, stdin=file)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("echo", "was refused by the vendor (400)"),
        ("html", "something that is not JSON"),
        ("403-html", "answered 403 with something that is not JSON"),
        ("500", "answered 500"),
        ("redirect", "answered 302"),
        ("lacking", "without a usable refresh_token, expires_in"),
    ],
)
def test_a_token_endpoint_that_refuses_or_babbles(
    tmp_path: Path, swarm: str, vendor: OAuthServer, how: str, said: str
):
    vendor.misbehave = how
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    code, output, errors = call("login", "--port", "0", env=env)
    assert code == 1
    assert said in one_line(errors)
    assert_no_secret(vendor, output, errors)
    assert not slots(swarm)


def test_a_token_that_names_no_account(tmp_path: Path, swarm: str, vendor: OAuthServer):
    vendor.account = None
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    code, output, errors = call("login", "--port", "0", env=env)
    assert code == 1
    assert "does not name a ChatGPT account" in one_line(errors)
    assert_no_secret(vendor, output, errors)


def test_nobody_answers_in_time(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm, browser=IDLE_BROWSER)
    begin_s = time.monotonic()
    with on_terminal("login", "--port", "0", "--timeout", "1", env=env) as terminal:
        assert terminal.ended() == 1
    assert "was not completed within 1 s" in terminal.shown
    assert time.monotonic() - begin_s < 8


def test_an_interrupt_ends_it_at_once(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    with on_terminal("login", "--port", "0", "--no-browser", env=env) as terminal:
        terminal.until(PASTE_PROMPT)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended(within_s=3) == 130
        assert "Traceback" not in terminal.shown


@pytest.mark.parametrize("words", [("--no-browser",), ()])
@pytest.mark.parametrize("browser", ["", BROKEN_BROWSER])
def test_without_a_terminal_and_without_a_browser_nobody_can_answer(
    tmp_path: Path, swarm: str, vendor: OAuthServer, words: tuple[str, ...], browser: str
):
    env = login_env(tmp_path, vendor, swarm, browser=browser)
    code, _, errors = call("login", "--port", "0", *words, env=env)
    assert code == 1
    assert "nobody can answer" in one_line(errors)
    if not words:
        assert "Could not open a browser by itself" in errors


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_swarm_that_refuses_the_login(tmp_path: Path, vendor: OAuthServer, status: int):
    def answer(request: str) -> tuple[int, object]:
        if request.startswith("PUT"):
            return status, {"error": f"no: {' '.join(vendor.issued[1:])}"}
        return 200, {"configs": []}

    with scripted_api(answer) as url:
        env = login_env(tmp_path, vendor, url, browser=BROWSER)
        code, output, errors = call("login", "--port", "0", env=env)
    assert code == 1
    assert f"did not store slot 0: {url}/api/config answered {status}" in one_line(errors)
    assert_no_secret(vendor, output, errors)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_swarm_that_refuses_us_does_so_before_the_browser(
    tmp_path: Path, vendor: OAuthServer, status: int
):
    with scripted_api(lambda _: (status, {"error": "no"})) as url:
        env = login_env(tmp_path, vendor, url, browser=BROWSER)
        code, output, errors = call("login", "--port", "0", env=env)
    assert code == 1
    assert f"answered {status}" in one_line(errors)
    assert not vendor.asked
    assert "/oauth/authorize" not in output


def test_a_swarm_that_is_not_there(tmp_path: Path, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, "http://127.0.0.1:9")
    code, _, errors = call("login", "--no-browser", env=env)
    assert code == 1
    assert "no answer from http://127.0.0.1:9" in one_line(errors)


# --- slots
Refused = Callable[..., tuple[int, str]]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run a command in this process that does not get as far as the swarm."""
    monkeypatch.setattr(os, "environ", bare_env(tmp_path, MCP_BASE_URL="http://127.0.0.1:9"))

    def run(*words: str) -> tuple[int, str]:
        code = main(words)
        said = capsys.readouterr()
        assert not said.out
        return code, said.err

    return run


@pytest.mark.parametrize("slot", ["-1", "101", "abc", "", "1.5", "٣"])
@pytest.mark.parametrize("command", ["login", "logout"])
def test_a_slot_that_is_none(refused: Refused, slot: str, command: str):
    code, errors = refused(command, f"--slot={slot}")
    assert code == 2
    assert "is not a slot from 0 to 100" in errors


def test_a_slot_that_is_given_twice(refused: Refused):
    code, errors = refused("login", "--slot", "1", "--slot", "2")
    assert code == 2
    assert "given twice" in errors


@pytest.mark.parametrize("words", [("--timeout", "0"), ("--timeout", "x"), ("--port", "70000")])
def test_a_number_that_cannot_be_used(refused: Refused, words: tuple[str, ...]):
    code, errors = refused("login", *words)
    assert code == 2
    assert words[0] in errors


def test_a_harness_without_a_login(refused: Refused):
    code, errors = refused("login", "claude")
    assert code == 2
    assert "claude setup-token" in one_line(errors)
    assert refused("login", "nonsense")[0] == 2


@pytest.mark.parametrize("issuer", ["http://auth.example.org", "not a url", "ftp://x"])
def test_an_issuer_that_tokens_must_not_be_sent_to(issuer: str):
    with pytest.raises(BadSetting, match="CODEX_OAUTH_ISSUER"):
        issuer_of({"CODEX_OAUTH_ISSUER": issuer})
    assert issuer_of({"CODEX_OAUTH_ISSUER": " https://x.example/ "}) == "https://x.example"
    assert issuer_of({"CODEX_OAUTH_ISSUER": " "}) == "https://auth.openai.com"


def test_a_slot_that_is_taken_is_only_replaced_if_told(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    put_row(swarm, "codex_oauth_3", stored(refresh="the-old-one"))
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    code, _, errors = call("login", "--port", "0", "--slot", "3", env=env)
    assert code == 2
    assert "slot 3 is taken" in one_line(errors)
    assert ACCOUNT not in errors
    assert not vendor.asked
    code, _, errors = call("login", "--port", "0", "--slot", "3", "--replace", env=env)
    assert code == 0, errors
    assert json.loads(slots(swarm)["codex_oauth_3"]["value"])["refresh"] == vendor.issued[2]


def test_the_lowest_free_slot_is_taken_and_gaps_are_filled(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    put_row(swarm, "codex_oauth", stored(1))  # the old name of slot 0
    put_row(swarm, "codex_oauth_1", "not even JSON, but it is there")
    put_row(swarm, "codex_oauth_3", stored(3))
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    code, output, errors = call("login", "--port", "0", env=env)
    assert code == 0
    assert "stored in slot 2" in output
    assert "in slot 0, 3 as well" in errors
    assert set(slots(swarm)) == {f"codex_oauth{end}" for end in ("", "_1", "_2", "_3")}


def test_all_slots_taken(tmp_path: Path, swarm: str, vendor: OAuthServer):
    for slot in range(101):
        put_row(swarm, f"codex_oauth_{slot}", stored(slot))
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    code, _, errors = call("login", env=env)
    assert code == 2
    assert "all slots from 0 to 100 are taken" in one_line(errors)
    assert not vendor.asked


# --- status and logout
def test_status_shows_each_login_masked(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    code, output, _ = call("login", "--status", env=env)
    assert code == 1
    assert "There is no login" in output
    put_row(swarm, "codex_oauth_0", stored(left_s=26.5 * 3600))
    put_row(swarm, "codex_oauth_4", "{}")
    headers = {"Authorization": f"Bearer {KEY}"}
    until_when = "2999-01-01T00:00:00.000Z"
    body = {"keyType": "CODEX_OAUTH", "keySuffix": "QWERT", "keyIndex": 0}
    httpx2.post(
        f"{swarm}/api/keys/report-rate-limit",
        json={**body, "rateLimitedUntil": until_when},
        headers=headers,
    ).raise_for_status()
    code, output, _ = call("login", "--status", env={**env, "CODEX_OAUTH": "rubbish"})
    assert code == 0
    heading, first, second, own = output.splitlines()
    assert heading.split() == ["SLOT", "ACCOUNT", "EXPIRES", "IN", "LIMITED", "UNTIL", "SOURCE"]
    assert "1 d 2 h" in first
    assert until_when in first
    assert "acc…0001" in first
    assert "unreadable" in second
    assert "CODEX_OAUTH" in own
    assert ACCOUNT not in output
    assert jwt() not in output


def test_status_of_logins_that_are_of_no_use_any_more(
    tmp_path: Path, swarm: str, vendor: OAuthServer
):
    put_row(swarm, "codex_oauth_0", stored(left_s=-60, refresh=""))
    code, output, _ = call("login", "--status", env=login_env(tmp_path, vendor, swarm))
    assert code == 1
    assert "expired" in output


def test_logout_removes_the_row_and_says_so(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm)
    code, output, _ = call("logout", env=env)
    assert (code, output) == (1, "There is no login in any slot\n")
    put_row(swarm, "codex_oauth_0", stored(0))
    put_row(swarm, "codex_oauth", stored(1))  # would come up again if it stayed
    assert call("logout", env=env)[:2] == (0, "Logged out: slot 0 is empty now\n")
    assert not slots(swarm)
    put_row(swarm, "codex_oauth_2", stored(2))
    put_row(swarm, "codex_oauth_7", stored(7))
    code, _, errors = call("logout", env=env)
    assert code == 2
    assert "2, 7" in errors
    code, output, _ = call("logout", "--slot", "5", env=env)
    assert (code, output) == (1, "There is no login in slot 5\n")
    assert call("logout", "--slot", "7", env=env)[0] == 0
    assert set(slots(swarm)) == {"codex_oauth_2"}
    assert call("logout", "--all", env=env)[0] == 0
    assert not slots(swarm)


def test_nothing_is_left_on_this_machine(tmp_path: Path, swarm: str, vendor: OAuthServer):
    env = login_env(tmp_path, vendor, swarm, browser=BROWSER)
    assert call("login", "--port", "0", env=env)[0] == 0
    files = [path for path in (tmp_path / "home").rglob("*") if stat.S_ISREG(path.stat().st_mode)]
    assert files == []
