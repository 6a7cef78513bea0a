"""What happens inside a turn: the same items in both transports, spelled differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    Compaction,
    Custom,
    Error,
    Message,
    ProviderEvent,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.providers.codex.state import TranslationState

_FAILED = frozenset({"failed", "declined", "errored"})


def started(item: dict[str, Any]) -> Iterator[ProviderEvent]:
    """An item begins: of interest if it is a tool."""
    tool = _tool(item)
    if tool is not None:
        yield ToolStart(text(item.get("id")), *tool)


def updated(item: dict[str, Any]) -> Iterator[ProviderEvent]:
    """An item has grown (``exec`` only)."""
    match _kind(item):
        case "agentmessage" if text(item.get("text")):
            yield Custom("codex.message_delta", _with_id(item, text=item["text"]))
        case "todolist":
            yield Custom("codex.todo_list", _with_id(item, items=items(item.get("items"))))


def completed(
    state: TranslationState, item: dict[str, Any], *, subagent: bool
) -> Iterator[ProviderEvent]:
    """An item is done."""
    tool = _tool(item)
    if tool is not None:
        yield ToolEnd(text(item.get("id")), tool[0], item, _is_error(item))
        return
    match _kind(item):
        case "agentmessage":
            said = text(item.get("text"))
            if said:
                state.last_text = state.last_text if subagent else said
                yield Message("assistant", said, subagent=subagent)
        case "reasoning":
            thought = _reasoning(item)
            if thought:
                yield Custom("codex.reasoning", _with_id(item, text=thought))
        case "todolist":
            yield Custom("codex.todo_list", _with_id(item, items=items(item.get("items"))))
        case "contextcompaction":
            yield Compaction(state.context_used, "auto", state.window)
        case "error":
            yield Error(text(item.get("message")) or "unknown error", "warning")


def _tool(item: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return name and arguments of a tool call, by the names labels know (docs/api.md 9.3)."""
    match _kind(item):
        case "commandexecution":
            return "bash", {"command": text(item.get("command"))}
        case "filechange":
            changes = [_change(mapping(change)) for change in items(item.get("changes"))]
            return _file_tool(changes), {"changes": changes}
        case "mcptoolcall":
            about = {key: item.get(key) for key in ("server", "tool", "arguments")}
            return text(item.get("tool")), about
        case "dynamictoolcall":
            return text(item.get("tool")), {"arguments": item.get("arguments")}
        case "websearch":
            return "WebSearch", {"query": text(item.get("query"))}
    return None


def _kind(item: dict[str, Any]) -> str:
    return text(item.get("type")).replace("_", "").lower()


def _change(change: dict[str, Any]) -> dict[str, str]:
    """Keep what was done to which file; the loop detector knows changes in this form."""
    kind = change.get("kind")
    return {
        "kind": text(kind) or text(mapping(kind).get("type")) or "update",
        "path": text(change.get("path")),
    }


def _file_tool(changes: list[dict[str, str]]) -> str:
    first = changes[0]["kind"] if changes else ""
    return {"add": "Write", "delete": "Delete"}.get(first, "Edit")


def _is_error(item: dict[str, Any]) -> bool:
    exit_code = item.get("exit_code", item.get("exitCode"))
    return bool(
        text(item.get("status")) in _FAILED
        or item.get("error")
        or (isinstance(exit_code, int) and exit_code != 0)
    )


def _reasoning(item: dict[str, Any]) -> str:
    for key in ("text", "summary", "content"):
        value = item.get(key)
        thought = text(value) or "\n".join(filter(None, map(text, items(value))))
        if thought:
            return thought
    return ""


def _with_id(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"itemId": text(item.get("id")), **more}
