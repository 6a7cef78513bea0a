"""The home of a codex session: configuration, login, and links to the operator's files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from codex_config import THREAD, make_config, make_plan
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.contract import McpServer, ProviderSessionConfig
from agent_swarm_worker.errors import CredentialDamaged, CredentialsMissing, ProviderError
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.codex import credentials, launch, rollout
from agent_swarm_worker.providers.codex import launch as homes
from agent_swarm_worker.providers.codex.credentials import Credential, without_credentials
from agent_swarm_worker.providers.codex.launch import session_config
from agent_swarm_worker.providers.codex.rollout import has_text, used_before
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.mcp_config import toml_bytes
from agent_swarm_worker.sandboxes.local import LocalGuest

FLAT = {"access": "acc", "refresh": "ref", "expires": 1_800_000_000_000, "accountId": "a-1"}


GUEST = LocalGuest("home")


def find_credential(env: dict[str, str]) -> Credential:
    return anyio.run(credentials.find_credential, env, GUEST)


def prepare_home(config: ProviderSessionConfig, credential: Credential) -> Path:
    return Path(anyio.run(homes.prepare_home, config, credential))


def find_rollout(thread: str, home: Path | None) -> str | None:
    return anyio.run(rollout.find_rollout, thread, home, GUEST)


def config_table(folder: Path, base: dict[str, Any] | None = None, **changed: Any) -> Any:
    plan = changed.pop("plan", make_plan(folder))
    content = session_config(make_config(folder, **changed), plan, base or {}, Log())
    return tomllib.loads(content.decode())


def test_what_a_headless_session_needs(tmp_path: Path):
    table = config_table(tmp_path, system_prompt='Say "hi".\n\tÜ\x01\\')
    assert table["approval_policy"] == "never"
    assert table["sandbox_mode"] == "danger-full-access"
    assert table["analytics"]["enabled"] is False
    assert table["cli_auth_credentials_store"] == "file"
    assert table["mcp_optional_startup_grace_ms"] == 30_000
    assert table["developer_instructions"] == 'Say "hi".\n\tÜ\x01\\'
    assert table["model"] == "gpt-5.6-terra"
    assert "model_reasoning_effort" not in table


def test_the_operators_configuration_is_the_base(tmp_path: Path):
    base = {
        "model": "their-model",
        "model_provider": "theirs",
        "approval_policy": "untrusted",
        "developer_instructions": "House rules.",
        "features": {"apps": True, "other": True},
        "mcp_servers": {"theirs": {"command": "x"}, "agent-swarm": {"url": "http://old"}},
    }
    table = config_table(tmp_path, base, system_prompt="Orders.")
    assert (table["model_provider"], table["approval_policy"]) == ("theirs", "never")
    assert table["developer_instructions"] == "House rules.\n\nOrders."
    assert table["features"] == {"apps": True, "plugins": False, "other": True}
    assert table["mcp_servers"]["theirs"] == {"command": "x"}
    assert table["mcp_servers"]["agent-swarm"]["url"] == "http://swarm.test/mcp"


def test_the_swarms_server_has_its_headers(tmp_path: Path):
    env = {"SWARM_RUNTIME_INSTANCE_ID": "r-1"}
    server = config_table(tmp_path, context_key="c-1", env=env)["mcp_servers"]["agent-swarm"]
    assert server["http_headers"] == {
        "Authorization": "Bearer swarm-api-key-0001",
        "X-Agent-ID": "agent-1",
        "X-Source-Task-Id": "task-1",
        "X-Context-Key": "c-1",
        "X-Runtime-Instance-ID": "r-1",
    }
    assert server["default_tools_approval_mode"] == "approve"


def test_installed_servers(tmp_path: Path):
    servers = (
        McpServer(name="a.b c", transport="http", url="http://x", headers={"X": "1"}),
        McpServer(name="tool", transport="stdio", command="run", args=("-x",), env={"K": "v"}),
        McpServer(name="old", transport="sse", url="http://y"),
    )
    table = config_table(tmp_path, mcp_servers=servers)["mcp_servers"]
    assert sorted(table) == ["a.b c", "agent-swarm", "tool"], "there is no sse transport"
    assert table["a.b c"]["http_headers"] == {"X": "1"}
    assert (table["tool"]["command"], table["tool"]["args"]) == ("run", ["-x"])
    assert table["tool"]["env"] == {"K": "v"}


def test_with_agents_md_the_notes_may_be_longer(tmp_path: Path):
    plan = make_plan(tmp_path, uses_agents_md=True)
    table = config_table(tmp_path, plan=plan, system_prompt="x" * 50_000)
    assert "developer_instructions" not in table
    assert table["project_doc_max_bytes"] > 32 * 1024 + 50_000


@pytest.mark.parametrize("content", [b"model = ", b"\xff\xfe", b"[a\n"])
def test_a_damaged_configuration_is_left_out(content: bytes, tmp_path: Path):
    (tmp_path / "config.toml").write_bytes(content)
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert anyio.run(launch.operator_config, GUEST, folder, Log()) == {}


scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.datetimes(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    ),
    max_leaves=12,
)


@pytest.mark.long
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=5))
def test_what_is_written_is_read_again(table: dict[str, Any]):
    assert tomllib.loads(toml_bytes(table).decode()) == table


def auth(env: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(find_credential(env).content)
    return found


def test_a_login_from_the_environment():
    login = auth({"CODEX_OAUTH": json.dumps(FLAT, indent=1), "OPENAI_API_KEY": "sk"})
    assert login == {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": "acc",
            "access_token": "acc",
            "refresh_token": "ref",
            "account_id": "a-1",
        },
        "last_refresh": "2027-01-15T08:00:00.000Z",
    }


def test_a_login_of_the_pool_cannot_be_renewed_by_a_session():
    pooled = {"CODEX_OAUTH": json.dumps(FLAT), "CODEX_OAUTH_POOLED": "1"}
    assert auth(pooled)["tokens"]["refresh_token"] == ""
    assert auth({"codex_oauth_3": json.dumps(FLAT)})["tokens"]["refresh_token"] == ""


def test_a_login_as_the_cli_writes_it_is_kept():
    tokens = {"id_token": "i", "access_token": "a", "refresh_token": "r", "account_id": "c"}
    kept = {"tokens": tokens, "last_refresh": "2026-01-01T00:00:00Z"}
    login = auth({"CODEX_OAUTH": json.dumps(kept)})
    assert (login["tokens"], login["last_refresh"]) == (tokens, "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("value", ["nonsense", "{", '"text"', "[]", "{}", '{"access": 7}'])
def test_a_damaged_login_is_named(value: str):
    with pytest.raises(CredentialDamaged, match="CODEX_OAUTH"):
        find_credential({"CODEX_OAUTH": value})
    fallback = find_credential({"CODEX_OAUTH": value, "OPENAI_API_KEY": "sk-1"})
    assert not fallback.is_oauth


def test_the_operators_login_is_used_where_it_is(tmp_path: Path):
    """A copy would spend its one-use refresh token a second time."""
    file = tmp_path / ".codex/auth.json"
    file.parent.mkdir()
    env = {"HOME": str(tmp_path), "OPENAI_API_KEY": "sk-1"}
    file.write_text('{"tokens": {"access_token": "a"}}')
    found = find_credential(env)
    assert (found.is_oauth, found.file) == (True, file)
    home = prepare_home(make_config(tmp_path, env=env), found)
    assert (home / "auth.json").resolve() == file.resolve()
    file.write_text('{"OPENAI_API_KEY": "sk-theirs"}')
    assert find_credential(env).file is None, "the key of the environment comes first"
    assert find_credential({"HOME": str(tmp_path)}).file == file


@pytest.mark.parametrize("content", ["{corrupt", ""])
def test_a_damaged_file_is_named(content: str, tmp_path: Path):
    """The CLI would send its requests without any login, and wait."""
    (tmp_path / "auth.json").write_text(content)
    with pytest.raises(CredentialDamaged, match=r"auth\.json: not JSON"):
        find_credential({"CODEX_HOME": str(tmp_path)})
    assert find_credential({"CODEX_HOME": str(tmp_path), "OPENAI_API_KEY": "k"}).content


def test_without_anything_it_says_what_is_missing():
    with pytest.raises(CredentialsMissing, match="CODEX_OAUTH or OPENAI_API_KEY"):
        find_credential({"OPENAI_API_KEY": " "})


def test_the_agent_sees_no_login():
    env = {"CODEX_OAUTH": "{}", "codex_oauth_0": "{}", "OPENAI_API_KEY": "sk", "PATH": "/bin"}
    assert without_credentials(env, Credential(is_oauth=True)) == {"PATH": "/bin"}
    kept = without_credentials(env, Credential(is_oauth=False))
    assert kept == {"PATH": "/bin", "OPENAI_API_KEY": "sk"}


def test_the_folder_is_private_and_its_records_outlive_it(tmp_path: Path):
    config = make_config(tmp_path)
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex/AGENTS.md").write_text("Their notes.")
    home = prepare_home(config, find_credential(config.env))
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "auth.json").stat().st_mode & 0o777 == 0o600
    assert (home / "AGENTS.md").read_text() == "Their notes."
    (home / "sessions/x").write_text("kept")
    assert (tmp_path / ".codex/sessions/x").read_text() == "kept"
    assert prepare_home(config, find_credential(config.env)) == home


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProviderError, match="cannot prepare"):
        prepare_home(
            make_config(tmp_path, private_dir=tmp_path / "file", env={}),
            Credential(is_oauth=False),
        )


def test_records_that_cannot_be_kept_cost_only_the_continuation(tmp_path: Path):
    (tmp_path / ".codex").write_text("a file in the way")
    config = make_config(tmp_path)
    home = prepare_home(config, Credential(is_oauth=False))
    assert not (home / "sessions").exists()


def record(home: Path, *lines: object) -> Path:
    folder = home / "sessions/2026/11/20"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rollout-2026-11-20T00-00-00-{THREAD}.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(line) for line in lines) + b"\n")
    return path


def counted(count: int) -> dict[str, Any]:
    info = {"total_token_usage": {"input_tokens": count, "cached_input_tokens": 1}}
    return {"type": "event_msg", "payload": {"type": "token_count", "info": info}}


def test_a_record_is_found_by_its_uuid_only(tmp_path: Path):
    path = record(tmp_path, {})
    assert find_rollout(THREAD, tmp_path) == str(path)
    assert find_rollout(THREAD.upper(), tmp_path) == str(path)
    for name in ("", "--last", "*", THREAD[:-1], f"{THREAD}x", "../" + THREAD):
        assert find_rollout(name, tmp_path) is None
    path.write_text("")
    assert find_rollout(THREAD, tmp_path) is None
    assert find_rollout(THREAD, tmp_path / "nowhere") is find_rollout(THREAD, None) is None


def test_what_a_record_says_was_used(tmp_path: Path):
    empty = {"type": "event_msg", "payload": {"type": "token_count", "info": None}}
    talk = {"type": "response_item", "payload": {"text": 'about "token_count"'}}
    path = record(tmp_path, counted(5), counted(9), talk, empty)
    assert used_before(path.read_bytes()) == Tokens(input=9, cache_read=1)
    with path.open("ab") as file:
        file.write(b'{"type":"event_msg","payload":{"type":"token_count","in')
    assert used_before(path.read_bytes()) == Tokens(input=9, cache_read=1), (
        "a line cut off by a crash is skipped"
    )
    assert used_before(None) == used_before(b"") == Tokens()


def test_whether_a_thread_has_text_its_orders(tmp_path: Path):
    said = record(tmp_path, {"text": 'Orders "x"\nÜ ☂ and more'}).read_bytes()
    assert has_text(said, 'Orders "x"\nÜ ☂')
    assert not has_text(said, "Other orders")
    assert not has_text(said, "\ud83d")
