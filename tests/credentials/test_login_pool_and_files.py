"""Reading logins from rows, variables and files; writing ``auth.json``."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from oauth_server import ACCOUNT, jwt, stored

from agent_swarm_worker.credentials.codex import (
    CodexLogins,
    codex_auth_json,
    login_in_file,
    write_auth_json,
)
from agent_swarm_worker.credentials.credential import CodexCredential, claims_of, masked
from agent_swarm_worker.credentials.store import lowest_free_number, pool_logins
from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.logs import Log

EXPIRES_MS = 1_900_000_000_123


def flat(serial: int = 1) -> str:
    return json.dumps({**json.loads(stored(serial)), "expires": EXPIRES_MS})


def auth_json(serial: int = 1) -> str:
    tokens = {
        "id_token": "an.id.token",
        "access_token": jwt(serial=serial),
        "refresh_token": f"refresh-token-of-the-tests-{serial}",
        "account_id": ACCOUNT,
    }
    value = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens}
    return json.dumps({**value, "last_refresh": "2026-01-01T00:00:00Z"})


def pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=4)


FORMS = {"flat": flat, "auth.json": auth_json, "pretty": lambda n=1: pretty(flat(n))}


@pytest.mark.parametrize("form", [*FORMS, "invalid"])
@pytest.mark.parametrize("place", ["pool", "legacy row", "env only", "none"])
def test_what_a_machine_is_seeded_with(tmp_path: Path, place: str, form: str):
    text = "{not json, " if form == "invalid" else FORMS[form]()
    names = {"pool": "codex_oauth_0", "legacy row": "codex_oauth"}
    names["env only"] = "CODEX_OAUTH"
    home = tmp_path / "home"
    env = {"HOME": str(home)} | ({names[place]: text} if place in names else {})
    path = home / ".codex" / "auth.json"
    if place == "none" or form == "invalid":
        assert (CodexLogins().restore(env, Log()), path.exists()) == (False, False)
        return
    assert CodexLogins().restore(env, Log())
    written = json.loads(path.read_text())
    kept = "refresh-token-of-the-tests-1" if place == "env only" else ""
    assert written["tokens"]["refresh_token"] == kept
    assert written["tokens"]["access_token"] == jwt(serial=1)
    assert written["tokens"]["account_id"] == ACCOUNT
    assert written["tokens"]["id_token"] == (
        "an.id.token" if form == "auth.json" else jwt(serial=1)
    )


def test_what_is_no_credential_is_named_and_not_repeated():
    text = '{"refresh": "refresh-token-of-the-tests-1", '
    with pytest.raises(CredentialUnreadable, match="not valid JSON") as caught:
        CodexCredential.parse(text)
    assert "refresh-token" not in str(caught.value)


def test_the_file_is_private_and_has_the_form_that_codex_wants(tmp_path: Path):
    path = tmp_path / ".codex" / "auth.json"
    path.parent.mkdir(mode=0o755)
    path.write_text("the old one")
    path.chmod(0o644)
    write_auth_json(path, flat(), keep_refresh=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": jwt(serial=1),
            "access_token": jwt(serial=1),
            "refresh_token": "",
            "account_id": ACCOUNT,
        },
        "last_refresh": "2030-03-17T17:46:40Z",
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["auth.json"]


def test_what_is_no_credential_leaves_the_file_alone(tmp_path: Path):
    path = tmp_path / "auth.json"
    path.write_text(auth_json())
    for text in ("", "rubbish", "[]", "{}", '{"tokens": {}}', '{"access": 1, "accountId": "a"}'):
        with pytest.raises(CredentialUnreadable):
            write_auth_json(path, text, keep_refresh=True)
    assert path.read_text() == auth_json()
    assert [entry.name for entry in tmp_path.iterdir()] == ["auth.json"]


@pytest.mark.long
def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path):
    path = tmp_path / "auth.json"
    write_auth_json(path, flat(0), keep_refresh=True)
    script = (
        "import sys, pathlib\n"
        "from agent_swarm_worker.credentials.codex import write_auth_json\n"
        "for n in range(300):\n"
        "    write_auth_json(pathlib.Path(sys.argv[1]), sys.argv[2 + n % 2], keep_refresh=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path), flat(1), flat(2)])
    looks = 0
    while writer.poll() is None:
        assert login_in_file(path) is not None
        looks += 1
    assert writer.returncode == 0
    assert looks > 10


def test_an_expiry_that_is_not_known_is_no_reason_to_fail():
    value = {key: v for key, v in json.loads(flat()).items() if key != "expires"}
    assert CodexCredential.parse(json.dumps(value)).expires_ms == 0
    assert b"last_refresh" in codex_auth_json(json.dumps(value), keep_refresh=False)


# --- slots
def test_slots_are_read_from_rows_and_what_cannot_be_read_is_left_out():
    env = {
        "codex_oauth_100": flat(100),
        "codex_oauth_7": auth_json(7),
        "codex_oauth_2": "rubbish",
        "codex_oauth_101": flat(101),
        "codex_oauth_03": flat(3),
        "codex_oauth_-1": flat(9),
        "CODEX_OAUTH_5": flat(5),
        "codex_oauth": flat(0),
        "PATH": "/bin",
    }
    assert list(pool_logins(env)) == [0, 7, 100]
    assert pool_logins({**env, "codex_oauth_0": flat(50)})[0].access == jwt(serial=50)


def test_the_check_sees_a_login_without_its_refresh_token():
    env = CodexLogins().lend({"codex_oauth_4": flat(4)})
    assert json.loads(env["CODEX_OAUTH"])["refresh"] == ""
    assert env["CODEX_OAUTH_POOLED"] == "1"
    assert CodexLogins().lend({"A": "b"}) == {"A": "b"}


@pytest.mark.parametrize(
    ("taken", "free"), [((), 0), ((0, 1, 3), 2), ((1, 2), 0), (range(101), None)]
)
def test_the_lowest_free_slot(taken: Any, free: int | None):
    assert lowest_free_number(set(taken)) == free


# --- what is told of a login
def test_the_suffix_is_of_the_user_else_of_the_account():
    value = json.loads(flat())
    assert CodexCredential.parse(json.dumps(value)).suffix == "QWERT"
    value["access"] = jwt(user=None)
    assert CodexCredential.parse(json.dumps(value)).suffix == ACCOUNT[-5:]
    value["access"] = "opaque"
    assert CodexCredential.parse(json.dumps(value)).suffix == ACCOUNT[-5:]


def test_a_credential_does_not_show_its_tokens():
    login = CodexCredential.parse(flat())
    for secret in (login.access, login.refresh):
        assert secret not in repr(login)
    assert ACCOUNT not in masked(ACCOUNT)
    assert masked("short") == "…rt"


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c.d", "a.!!!.c", "a." + base64.b64encode(b"[1]").decode() + ".c", "a.ÿ.c"],
)
def test_what_is_no_web_token_says_nothing(token: str):
    assert claims_of(token) == {}
