"""Write and read the tool server (MCP) configuration of a harness: ``.mcp.json`` or TOML tables."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.guards.scrubbing.secret_names import is_secret_name, secret_values_of
from agent_swarm_worker.providers.kit.native import mapping, parse_file, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig, Redactor

SWARM_SERVER = "agent-swarm"
"""Name of the swarm's own server; the names of its tools begin with ``mcp__agent-swarm__``."""
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def is_like_swarms(name: str) -> bool:
    """True for a name of a server whose tools may be taken for the swarm's."""
    return name.strip().lower().replace("_", "-").startswith(SWARM_SERVER)


def swarm_server(
    *,
    api_url: str,
    api_key: str,
    agent_id: str,
    task_id: str,
    context_key: str | None = None,
    runtime_id: str | None = None,
) -> McpServer:
    """Return the swarm's server with the headers that attribute nested calls (docs/api.md 15.3)."""
    headers = {"X-Agent-ID": agent_id, "X-Source-Task-Id": task_id}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if context_key:
        headers["X-Context-Key"] = context_key
    if runtime_id:
        headers["X-Runtime-Instance-ID"] = runtime_id
    return McpServer(name=SWARM_SERVER, transport="http", url=f"{api_url}/mcp", headers=headers)


def swarm_server_of(config: ProviderSessionConfig, runtime_id: str | None = None) -> McpServer:
    """Return the swarm's server of a session: the configured one, else one made for it."""
    for server in config.mcp_servers:
        if server.name == SWARM_SERVER:
            return server
    return swarm_server(
        api_url=config.api_url,
        api_key=config.api_key,
        agent_id=config.agent_id,
        task_id=config.task_id,
        context_key=config.context_key,
        runtime_id=runtime_id,
    )


def mcp_entry(server: McpServer) -> dict[str, Any]:
    """Return one server as an entry of ``mcpServers``."""
    if server.transport == "stdio":
        return _command(server)
    return {"type": server.transport, "url": server.url, "headers": dict(server.headers)}


def mcp_table(server: McpServer, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return one server as a TOML table of ``mcp_servers``, with the keys common to all."""
    if server.transport == "stdio":
        return {**_command(server), **common}
    return {"url": server.url, "http_headers": dict(server.headers), **common}


def _command(server: McpServer) -> dict[str, Any]:
    entry: dict[str, Any] = {"command": server.command, "args": list(server.args)}
    return entry | ({"env": dict(server.env)} if server.env else {})


def mcp_config_bytes(
    servers: Iterable[McpServer], inherited: Mapping[str, Any] | None = None
) -> bytes:
    """Return a ``.mcp.json`` with the `inherited` entries, overridden by `servers`."""
    entries = {**(inherited or {}), **{server.name: mcp_entry(server) for server in servers}}
    return orjson.dumps({"mcpServers": entries}, option=orjson.OPT_INDENT_2)


def read_mcp_config(content: bytes) -> dict[str, Any]:
    """Return the entries of a ``.mcp.json``; one of another shape has none.

    Raises:
        ValueError: the content is not JSON.
    """
    return mapping(mapping(parse_file(content)).get("mcpServers"))


def merged_entry(entry: Mapping[str, Any], ours: McpServer) -> dict[str, Any]:
    """Merge an operator's entry (a timeout, a header) with ours, which sets address and identity.

    Header names ignore case: an old ``authorization`` must not stay beside ours.
    """
    names = {name.lower() for name in ours.headers}
    headers = mapping(entry.get("headers"))
    kept = {name: value for name, value in headers.items() if name.lower() not in names}
    rest = {key: value for key, value in entry.items() if key not in {"command", "args", "env"}}
    return {**rest, **mcp_entry(ours), "headers": {**kept, **ours.headers}}


def register_secrets(
    entry: Mapping[str, Any], redactor: Redactor, *, headers: str = "headers"
) -> None:
    """Register the secrets of a server's entry: a harness may print them if the server fails.

    `headers` is the key of the HTTP headers in this format.
    """
    env = {name: text(value) for name, value in mapping(entry.get("env")).items()}
    for name, value in secret_values_of(env):
        redactor.add(name, value)
    for name, value in (*env.items(), *mapping(entry.get(headers)).items()):
        if name.lower() in _SECRET_HEADERS or is_secret_name(name):
            redactor.add(name, text(value))


def toml_bytes(table: Mapping[str, Any]) -> bytes:
    """Return a TOML document, from values of the types that `tomllib` produces."""
    return ("\n".join(_lines(table, ())) + "\n").encode("utf-8", "replace")


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in tables:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in tables.items():
        inner = (*path, key)
        yield f"\n[{'.'.join(map(_key, inner))}]"
        yield from _lines(value, inner)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return repr(value)
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return (
                f"{{{', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items())}}}"
            )
    msg = f"TOML has no {type(value).__name__}"
    raise TypeError(msg)


def _string(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    return character
