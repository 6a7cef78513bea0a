"""Selecting one key per session, unlimited ones first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from oauth_server import stored

from agent_swarm_worker.contract import Credentials
from agent_swarm_worker.credentials import pools
from agent_swarm_worker.credentials.codex import (
    KEY_ONLY,
    codex_auth_json,
    login_options,
    write_auth_json,
)
from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.credentials.pools import Selection, one_of, pool_members, select_credentials
from agent_swarm_worker.providers.codex import credentials as codex_credentials
from agent_swarm_worker.providers.codex.credentials import Credential, without_credentials
from agent_swarm_worker.providers.registry import known_specs, spec_of
from agent_swarm_worker.sandboxes.local import LocalGuest
from agent_swarm_worker.worker.boot.harness import harness_name

ENV = {
    "CLAUDE_CODE_OAUTH_TOKEN": "tok-aaaaaaa, tok-bbbbbbb,,tok-ccccccc",
    "ANTHROPIC_API_KEY": "sk-only",
}
NAMES = ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "UNSET")


POOLED = {"CODEX_OAUTH_POOLED": "1"}


def session_env(harness: str, env: dict[str, str], chosen: Sequence[Selection]) -> dict[str, str]:
    all_credentials = [spec.credentials for spec in known_specs()]
    return pools.session_env(spec_of(harness).credentials, env, chosen, all_credentials)


def variables_for(harness: str, model: str) -> tuple[str, ...]:
    return pools.variables_for(spec_of(harness).credentials, model)


def find_credential(env: dict[str, str]) -> Credential:
    return anyio.run(codex_credentials.find_credential, env, LocalGuest("pools"))


def answering(*indices: int):
    async def available(_: str, __: int) -> Sequence[int]:
        return indices

    return available


async def silent(_: str, __: int) -> None:
    return None


@pytest.mark.anyio
async def test_only_an_available_key_is_chosen():
    chosen = await select_credentials(NAMES, ENV, answering(1))
    assert next((s.key_type, s.index, s.suffix) for s in chosen) == (
        "CLAUDE_CODE_OAUTH_TOKEN",
        1,
        "bbbbb",
    )
    assert not chosen[0].is_fallback


@pytest.mark.anyio
async def test_all_limited_takes_one_and_says_so():
    chosen = await select_credentials(NAMES, ENV, answering())
    assert all(selection.is_fallback for selection in chosen)


@pytest.mark.anyio
async def test_indices_out_of_range_count_as_limited():
    chosen = await select_credentials(NAMES[:1], ENV, answering(7, -1))
    assert chosen[0].is_fallback


@pytest.mark.anyio
async def test_a_server_that_does_not_say_leaves_all_keys_usable():
    seen: list[int] = []
    await select_credentials(NAMES[:1], ENV, silent, choose=lambda usable: seen.extend(usable) or 0)
    assert seen == [0, 1, 2]


@pytest.mark.anyio
async def test_the_child_never_sees_the_whole_pool():
    chosen = await select_credentials(NAMES, ENV, answering(2, 0))
    env = session_env("some-harness", ENV, chosen)
    assert "," not in env["CLAUDE_CODE_OAUTH_TOKEN"]
    assert env["ANTHROPIC_API_KEY"] == "sk-only"


@pytest.mark.anyio
async def test_claude_uses_its_token_unless_only_the_key_is_left():
    async def only_keys(name: str, _: int) -> Sequence[int]:
        return [0] if name == "ANTHROPIC_API_KEY" else []

    token = one_of(await select_credentials(NAMES, ENV, silent))
    assert session_env("claude", ENV, token) == {"CLAUDE_CODE_OAUTH_TOKEN": token[0].value}
    key = one_of(await select_credentials(NAMES, ENV, only_keys))
    assert session_env("claude", ENV, key) == {"ANTHROPIC_API_KEY": "sk-only"}
    both_limited = one_of(await select_credentials(NAMES, ENV, answering()))
    assert both_limited[0].key_type == "CLAUDE_CODE_OAUTH_TOKEN"


def test_blank_members_do_not_count():
    assert pool_members(" , a ,,b") == ["a", "b"]


def test_json_is_not_cut_at_its_commas():
    flat = stored(1)
    pretty = json.dumps(json.loads(flat), indent=2)
    assert pool_members(flat) == [flat]
    assert pool_members(f" {pretty}\n") == [pretty]
    assert pool_members(f"{flat}, {pretty} ,{flat}") == [flat, pretty, flat]
    assert pool_members('{"cut": "off, here') == ['{"cut": "off, here']


@pytest.mark.parametrize(
    ("harness", "model", "first"),
    [
        ("pi", "", "ANTHROPIC_API_KEY"),
        ("pi", "sonnet", "ANTHROPIC_API_KEY"),
        ("pi", "gpt-5.6-sol", "OPENAI_API_KEY"),
        ("pi", "claude-opus-5", "ANTHROPIC_API_KEY"),
        ("pi", "deepseek/deepseek-v4", "OPENROUTER_API_KEY"),
        ("pi", "anthropic/claude-opus-5", "ANTHROPIC_API_KEY"),
        ("pi", "openrouter/openai/gpt-5.6", "OPENROUTER_API_KEY"),
        ("pi", "openai/gpt-5.6", "OPENAI_API_KEY"),
        ("claude", "opus", "CLAUDE_CODE_OAUTH_TOKEN"),
        ("codex", "gpt-5.6-sol", "CODEX_OAUTH"),
    ],
)
def test_the_model_says_which_credential_is_the_one_used(harness: str, model: str, first: str):
    assert variables_for(harness, model)[0] == first


@pytest.mark.parametrize("harness", ["pi"])
def test_a_model_of_another_vendor_excludes_the_openai_key(harness: str):
    assert "OPENAI_API_KEY" not in variables_for(harness, "x/y")
    assert "OPENAI_API_KEY" in variables_for(harness, "gpt-5.6")


def test_a_harness_that_is_not_in_the_table_says_itself_what_it_needs():
    theirs = Credentials(variables=("B_KEY", "A_KEY"))
    assert pools.variables_for(theirs, "a/b") == ("B_KEY", "A_KEY")


@pytest.mark.parametrize("harness", ["pi", "codex"])
def test_a_claude_token_is_withheld_from_harnesses_it_would_mislead(harness: str):
    env = {"CLAUDE_CODE_OAUTH_TOKEN": "t", "OPENROUTER_API_KEY": "o", "PATH": "/bin"}
    assert "CLAUDE_CODE_OAUTH_TOKEN" not in session_env(harness, env, [])
    assert session_env("claude", env, []) == env
    assert session_env("subprocess", env, []) == env


@pytest.mark.parametrize("harness", ["claude", "pi", "subprocess", "codex", "theirs"])
def test_rows_of_slots_are_withheld_from_every_harness(harness: str):
    names = ("codex_oauth", "codex_oauth_0", "codex_oauth_100", "CODEX_OAUTH_7", "Codex_OAuth_7")
    assert session_env(harness, dict.fromkeys(names, stored(1)), []) == {}


def test_only_a_login_of_the_swarm_is_marked_as_one():
    env = {"CODEX_OAUTH_POOLED": "1", "CODEX_OAUTH": "mine", "OPENAI_API_KEY": "k"}
    own = Selection("CODEX_OAUTH", 0, 1, "x", "mine")
    assert session_env("codex", env, [own]) == {"CODEX_OAUTH": "mine"}
    lent = Selection("CODEX_OAUTH", 0, 1, "x", "lent", also=POOLED)
    assert session_env("codex", env, [lent]) == {"CODEX_OAUTH": "lent", "CODEX_OAUTH_POOLED": "1"}


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        ((), "claude"),
        (("OPENROUTER_API_KEY",), "pi"),
        (("OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"), "claude"),
        (("OPENROUTER_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"), "claude"),
        (("OPENROUTER_API_KEY", "OPENAI_API_KEY"), "pi"),
        (("OPENAI_API_KEY",), "claude"),
    ],
)
def test_without_a_harness_the_credentials_choose_one(have: tuple[str, ...], wanted: str):
    assert harness_name(dict.fromkeys(have, "x")) == wanted
    assert harness_name({**dict.fromkeys(have, "x"), "HARNESS_PROVIDER": "codex"}) == "codex"


def test_what_is_second_is_what_the_harness_falls_back_to():
    assert variables_for("pi", "gpt-5.6-sol")[:2] == ("OPENAI_API_KEY", "OPENROUTER_API_KEY")
    assert variables_for("pi", "claude-opus-5")[1] == "OPENROUTER_API_KEY"


def test_codex_is_told_if_it_is_to_use_the_key_although_it_is_logged_in(tmp_path: Path):
    write_auth_json(tmp_path / ".codex/auth.json", stored(1), keep_refresh=True)
    env = {"HOME": str(tmp_path), "OPENAI_API_KEY": "sk-the-key-of-the-tests"}
    key = Selection("OPENAI_API_KEY", 0, 1, "tests", env["OPENAI_API_KEY"], also=KEY_ONLY)
    given = session_env("codex", env, [key])
    used = find_credential(given)
    assert not used.is_oauth
    assert set(without_credentials(given, used)) == {"HOME", "OPENAI_API_KEY"}
    in_file = Selection("CODEX_OAUTH", 0, 1, "QWERT", "")
    assert find_credential(session_env("codex", env, [in_file])).file is not None


def test_codex_reads_what_it_is_lent():
    login = CodexCredential.parse(stored(3)).without_refresh().to_value()
    lent = Selection("CODEX_OAUTH", 3, 4, "QWERT", login, also=POOLED)
    used = find_credential(session_env("codex", {"OPENAI_API_KEY": "k", "HOME": "/none"}, [lent]))
    written = json.loads(used.content)
    assert written["tokens"]["refresh_token"] == ""
    ours = json.loads(codex_auth_json(login, keep_refresh=False))
    assert {**written, "last_refresh": ""} == {**ours, "last_refresh": ""}


# --- the order in which codex tries
def in_order(options: Sequence[object]) -> Sequence[object]:
    return options


async def tried(env: dict[str, str], limited: set[tuple[str, int]], **more) -> list[tuple]:
    async def available(name: str, total: int) -> list[int]:
        return [i for i in range(total) if (name, i) not in limited]

    more = {"in_file": None, **more}
    options = await login_options(env, available, shuffle=in_order, **more)
    return [(o.key_type, o.index, o.is_fallback) for o in options]


@pytest.mark.anyio
async def test_codex_tries_logins_before_keys_and_free_ones_before_limited_ones():
    env = {"codex_oauth_1": stored(1), "codex_oauth_4": stored(4), "OPENAI_API_KEY": "a,b"}
    assert await tried(env, {("CODEX_OAUTH", 1), ("OPENAI_API_KEY", 0)}) == [
        ("CODEX_OAUTH", 4, False),
        ("OPENAI_API_KEY", 1, False),
        ("CODEX_OAUTH", 1, True),
        ("OPENAI_API_KEY", 0, True),
    ]


@pytest.mark.anyio
async def test_codex_prefers_the_swarms_logins_to_its_own_and_those_to_its_file():
    in_file = CodexCredential.parse(stored(8))
    env = {"CODEX_OAUTH": stored(7)}
    assert await tried({**env, "codex_oauth": stored(1)}, set(), in_file=in_file) == [
        ("CODEX_OAUTH", 0, False)
    ]
    for more, value in (({}, None), (env, env["CODEX_OAUTH"])):
        (option,) = await login_options(more, silent, in_file=in_file)
        assert option.value == (value or "")
        assert not option.also
    assert await tried({}, set()) == []
