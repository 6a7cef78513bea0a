"""Restoring codex's login: from rows and variables to ``auth.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from container_rig import Box, ScriptedApi

from agent_swarm_worker.credentials.codex import CodexLogins
from agent_swarm_worker.logs import Log

FLAT = {
    "access": "access-1",
    "refresh": "refresh-1",
    "expires": 1_800_000_000_123,
    "accountId": "a",
}
OWN_FORM = {
    "auth_mode": "chatgpt",
    "OPENAI_API_KEY": None,
    "tokens": {
        "id_token": "access-1",
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "account_id": "a",
    },
}


@pytest.fixture
def auth(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".codex" / "auth.json"


def restored(auth: Path, *, container: str | None = None, **rows: str) -> bool:
    """Restore, as the start of a container does; return whether there was a login."""
    own = {} if container is None else {"CODEX_OAUTH": container}
    return CodexLogins().restore({"HOME": str(auth.parents[1]), **own, **rows}, Log())


def value_of(shape: str) -> str:
    return {
        "flat": json.dumps(FLAT),
        "own form": json.dumps(OWN_FORM, indent=2),  # over many lines, as people paste it
        "no JSON": "{not json",
        "another JSON": '["x"]',
        "no token": '{"auth_mode": "chatgpt", "tokens": {}}',
    }[shape]


def read(auth: Path) -> dict[str, Any]:
    assert auth.stat().st_mode & 0o777 == 0o600
    assert auth.parent.stat().st_mode & 0o777 == 0o700
    content: dict[str, Any] = json.loads(auth.read_text())
    # The end of the token, or where that is not known, far enough for codex not to renew it.
    assert content.pop("last_refresh") > "2026"
    return content


@pytest.mark.parametrize("shape", ["flat", "own form"])
@pytest.mark.parametrize("source", ["codex_oauth_0", "codex_oauth"])
def test_a_login_of_the_pool_is_restored_without_its_refresh_token(
    auth: Path, source: str, shape: str
):
    assert restored(auth, **{source: value_of(shape)})
    tokens = {**OWN_FORM["tokens"], "refresh_token": ""}  # type: ignore[dict-item]
    assert read(auth) == {**OWN_FORM, "tokens": tokens}


@pytest.mark.parametrize("shape", ["flat", "own form"])
def test_a_login_of_the_container_keeps_its_refresh_token(auth: Path, shape: str):
    assert restored(auth, container=value_of(shape))
    assert read(auth) == OWN_FORM


def test_an_empty_answer_does_not_clobber_the_containers_login(auth: Path):
    restored(auth, container=value_of("flat"), codex_oauth="", codex_oauth_0="  ")
    assert read(auth) == OWN_FORM


def test_the_pool_goes_before_the_legacy_row_and_the_container(auth: Path):
    other = json.dumps({**FLAT, "access": "other"})
    restored(auth, container=other, codex_oauth=other, codex_oauth_0=value_of("flat"))
    assert read(auth)["tokens"]["access_token"] == "access-1"


@pytest.mark.parametrize("shape", ["no JSON", "another JSON", "no token"])
def test_what_is_no_login_is_named_and_the_next_one_is_taken(
    auth: Path, shape: str, capsys: pytest.CaptureFixture[str]
):
    restored(auth, container=value_of("flat"), codex_oauth_0=value_of(shape))
    assert read(auth) == OWN_FORM
    assert "codex_oauth_0" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [None, "no JSON", "another JSON", "no token"])
def test_without_any_login_there_is_no_file(auth: Path, shape: str | None):
    assert not restored(auth, container=shape and value_of(shape))
    assert not auth.exists()


def test_a_login_made_in_the_container_is_left_alone_and_a_shared_ones_old_copy_is_not(auth: Path):
    auth.parent.mkdir(parents=True)
    mine = {**OWN_FORM, "last_refresh": "mine"}
    auth.write_text(json.dumps(mine))
    restored(auth, codex_oauth_0=value_of("flat"))
    assert json.loads(auth.read_text()) == mine
    tokens = {**OWN_FORM["tokens"], "access_token": "old", "refresh_token": ""}  # type: ignore[dict-item]
    auth.write_text(json.dumps({**OWN_FORM, "tokens": tokens}))
    restored(auth, codex_oauth_0=value_of("flat"))
    assert read(auth)["tokens"]["access_token"] == "access-1"


def test_a_key_login_gives_way_only_to_another_login(auth: Path):
    auth.parent.mkdir(parents=True)
    auth.write_text('{"auth_mode": "apikey", "OPENAI_API_KEY": "k"}')
    restored(auth)
    assert json.loads(auth.read_text())["OPENAI_API_KEY"] == "k"
    restored(auth, container=value_of("flat"))
    assert read(auth) == OWN_FORM


def test_only_a_container_of_codex_is_given_the_login(box: Box, api: ScriptedApi):
    auth = box.home / ".codex" / "auth.json"
    api.rows(codex_oauth_0=value_of("flat"))
    box.prepare()
    assert not auth.exists()
    box.program("codex", "#!/bin/sh\n")
    done = box.prepare(HARNESS_PROVIDER="codex")
    assert read(auth)["tokens"]["refresh_token"] == ""
    assert "access-1" not in done.err
