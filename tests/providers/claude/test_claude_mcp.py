"""The tool servers of a claude session."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from claude_config import make_config
from scripted_gate import ScriptedGate

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.providers.claude.launch import session_mcp_config

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.contract import ProviderSessionConfig

OURS = {
    "type": "http",
    "url": "http://swarm.test/mcp",
    "headers": {
        "Authorization": "Bearer swarm-api-key-0001",
        "X-Agent-ID": "agent-1",
        "X-Source-Task-Id": "task-1",
    },
}


LARGE = json.dumps({"mcpServers": {"large": {"command": "c"}}}) + " " * 1024 * 1024


def servers(config: ProviderSessionConfig) -> dict[str, Any]:
    document = json.loads(anyio.run(session_mcp_config, config))
    assert list(document) == ["mcpServers"]
    found: dict[str, Any] = document["mcpServers"]
    return found


def write(folder: Path, content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps({"mcpServers": content})
    (folder / ".mcp.json").write_text(text)


def test_the_swarms_server_is_there_without_any_file(tmp_path: Path) -> None:
    assert servers(make_config(tmp_path)) == {"agent-swarm": OURS}


def test_a_context_key_travels_along(tmp_path: Path) -> None:
    headers = servers(make_config(tmp_path, context_key="thread-7"))["agent-swarm"]["headers"]
    assert headers["X-Context-Key"] == "thread-7"


def test_the_runners_own_entry_is_used_as_it_is(tmp_path: Path) -> None:
    given = McpServer(name="agent-swarm", transport="http", url="http://x/mcp", headers={"a": "b"})
    found = servers(make_config(tmp_path, mcp_servers=(given,)))
    assert found == {"agent-swarm": {"type": "http", "url": "http://x/mcp", "headers": {"a": "b"}}}


def test_files_are_collected_up_to_the_root_and_the_rootmost_wins(tmp_path: Path) -> None:
    write(tmp_path, {"both": {"command": "outer"}, "outer": {"command": "o"}})
    write(tmp_path / "work", {"both": {"command": "inner"}, "inner": {"command": "i"}})
    config = make_config(tmp_path)
    found = servers(config)
    assert found["both"] == {"command": "outer"}
    assert {"outer", "inner", "agent-swarm"} <= set(found)


def test_a_byte_order_mark_costs_no_server(tmp_path: Path) -> None:
    write(tmp_path / "work", '\ufeff{"mcpServers": {"db": {"command": "x"}}}')
    assert "db" in servers(make_config(tmp_path))


def test_installed_servers_replace_inherited_ones(tmp_path: Path) -> None:
    write(tmp_path, {"db": {"command": "old"}})
    installed = (
        McpServer(name="db", transport="stdio", command="new", args=("-v",), env={"A": "b"}),
        McpServer(name="web", transport="sse", url="http://web", headers={"h": "v"}),
    )
    found = servers(make_config(tmp_path, mcp_servers=installed))
    assert found["db"] == {"command": "new", "args": ["-v"], "env": {"A": "b"}}
    assert found["web"] == {"type": "sse", "url": "http://web", "headers": {"h": "v"}}
    assert found["agent-swarm"] == OURS


def test_an_installed_server_cannot_take_the_swarms_name(tmp_path: Path) -> None:
    own = McpServer(name="agent-swarm", transport="http", url="http://own/mcp")
    other = McpServer(name="agent-swarm", transport="http", url="http://other/mcp")
    found = servers(make_config(tmp_path, mcp_servers=(own, other)))
    assert found["agent-swarm"]["url"] == "http://own/mcp"


def test_an_operators_entry_for_the_swarm_keeps_its_place_and_gets_our_identity(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        {
            "agent-swarm": {
                "type": "http",
                "url": "http://old/mcp",
                "headers": {
                    "AUTHORIZATION": "Bearer old-old-old",
                    "x-agent-id": "0",
                    "X-Team": "t",
                },
                "timeout": 9,
            },
            "zebra": {"command": "z"},
        },
    )
    found = servers(make_config(tmp_path))
    assert list(found) == ["agent-swarm", "zebra"]
    assert found["agent-swarm"] == {
        **OURS,
        "headers": {"X-Team": "t", **OURS["headers"]},  # type: ignore[dict-item]
        "timeout": 9,
    }


def test_a_program_that_calls_itself_the_swarm_is_not_started(tmp_path: Path) -> None:
    write(
        tmp_path / "work", {"agent-swarm": {"command": "evil", "args": ["-x"], "env": {"A": "b"}}}
    )
    assert servers(make_config(tmp_path))["agent-swarm"] == OURS


def test_what_is_no_server_list_is_skipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(tmp_path)
    for content in ("{nonsense", "[]", '{"mcpServers": 7}', "\xff", LARGE):
        write(tmp_path / "work", content)
        assert servers(config) == {"agent-swarm": OURS}
    write(tmp_path / "work", {"good": {"command": "g"}, "bad": "text"})
    assert set(servers(config)) == {"good", "agent-swarm"}
    assert "mcp.config" in capsys.readouterr().out


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    os.mkfifo(tmp_path / "work/.mcp.json")
    (tmp_path / ".mcp.json").mkdir()
    assert servers(config) == {"agent-swarm": OURS}


def test_secrets_of_files_are_known_to_the_redactor(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "web": {
                "type": "http",
                "url": "http://web",
                "headers": {
                    "authorization": "Bearer header-secret-1",
                    "X-API-Key": "header-secret-2",
                    "X-Agent-ID": "agent-name",
                    "Cookie": " ",
                },
            },
            "db": {"command": "db", "env": {"DB_PASSWORD": "env-secret-1", "MODE": "production"}},
        },
    )
    config = make_config(tmp_path)
    anyio.run(session_mcp_config, config)
    shown = config.redactor.text(
        "header-secret-1 header-secret-2 env-secret-1 agent-name production Bearer"
    )
    assert "secret-1" not in shown
    assert "secret-2" not in shown
    assert shown.endswith("agent-name production Bearer")


@pytest.mark.parametrize("root", [".", "work"], ids=["repository-above", "repository"])
def test_under_a_policy_no_server_comes_from_the_repository(tmp_path: Path, root: str) -> None:
    top = tmp_path / "top"
    write(tmp_path, {"operators": {"command": "o"}})
    write(top, {"above": {"command": "a"}})
    write(top / "work", {"clones": {"command": "c"}, "operators": {"command": "c"}})
    (top / root / ".git").mkdir(parents=True)
    (top / "work/sub").mkdir()
    write(top / "work/sub", {"cwd": {"command": "c"}})
    config = make_config(tmp_path, cwd=top / "work/sub", permissions=ScriptedGate())
    above = {"above"} if root == "work" else set()
    found = servers(config)
    assert {"agent-swarm", "operators"} | above == set(found)
    assert found["operators"] == {"command": "o"}


def test_no_inherited_server_is_called_like_the_swarms(tmp_path: Path) -> None:
    names = ("agent-swarm__x", "Agent-Swarm", "agent_swarm", "agent-swarm2")
    write(tmp_path, {name: {"command": "evil"} for name in names})
    assert servers(make_config(tmp_path)) == {"agent-swarm": OURS}
