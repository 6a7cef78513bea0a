"""Translate the output of ``codex exec --json``, and the items of a turn in both transports.

The transports spell the types and keys of an item differently (``command_execution`` in ``exec``,
``commandExecution`` in the app server).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    Compaction,
    Custom,
    Error,
    Helper,
    Message,
    Plan,
    ProviderEvent,
    Reasoning,
    Result,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.providers.codex import outcome
from agent_swarm_worker.providers.codex.outcome import (
    STALE_SESSION,
    is_stale_session,
    read_error,
    read_tokens,
)
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.native import items, mapping, plan_step, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_swarm_worker.contract import Ending, ProviderResult
    from agent_swarm_worker.providers.codex.outcome import CodexState


_FAILED = frozenset({"failed", "declined", "errored"})


class ExecTranslator(JsonTranslator):
    """Translates the lines of one process into events, and at its end into a result."""

    def __init__(self, state: CodexState) -> None:
        self._state = state

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one native event."""
        return list(self._translated(mapping(native)))

    def feed_text(self, line: str) -> Sequence[ProviderEvent]:
        """Take the end of the turn that cannot be read as a failure."""
        return list(self._state.take_torn(line))

    def feed_stderr(self, line: str) -> Sequence[ProviderEvent]:
        """Look for the error that the session to resume does not exist."""
        if (
            self._state.session_id is None
            and self._state.config.resume_session_id
            and is_stale_session(line)
        ):
            self._state.fatal = Error(line, STALE_SESSION)
        return ()

    @property
    def is_final(self) -> bool:
        """True once the only turn is over."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        return outcome.conclude(self._state, ending)

    def _translated(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        state, item = self._state, mapping(event.get("item"))
        kind = text(event.get("type"))
        if kind != "error":
            state.clear_retry()
        match kind:
            case "thread.started":
                yield from state.begin_thread(text(event.get("thread_id")), state.plan.model)
            case "turn.started":
                state.turns += 1
                state.turn = "running"
            case "item.started":
                yield from started(item)
            case "item.updated":
                yield from updated(item)
            case "item.completed":
                yield from completed(state, item)
            case "turn.completed":
                yield from self._turn_completed(event)
            case "turn.failed":
                error = read_error(mapping(event.get("error")))
                state.end(error)
                yield Result(state.cost(is_error=True), None, True, error.category)
            case "error":
                yield from state.take_error(read_error(event), is_retried=False)

    def _turn_completed(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        state = self._state
        if isinstance(event.get("usage"), dict):
            total = read_tokens(event["usage"])
            # The sum of all calls of the turn: an upper bound of the context.
            grown = state.take_total(state.session_id or "", total)
            yield state.take_context(grown, "peak-proxy")
        if not state.is_final:
            state.turn, state.is_final = "completed", True
        is_error = state.turn != "completed"
        yield Result(state.cost(is_error=is_error), state.last_text or None, is_error)


def started(item: dict[str, Any], helper: Helper | None = None) -> Iterator[ProviderEvent]:
    """Translate the start of an item, of which only a tool call has an event."""
    tool = _tool(item)
    if tool is not None:
        yield ToolStart(text(item.get("id")), *tool, helper)


def updated(item: dict[str, Any]) -> Iterator[ProviderEvent]:
    """Translate an item that has grown (``exec`` only)."""
    match _kind(item):
        case "agentmessage" if text(item.get("text")):
            yield Custom("codex.message_delta", _with_id(item, text=item["text"]))
        case "todolist":
            yield todo_plan(items(item.get("items")))


def completed(
    state: CodexState, item: dict[str, Any], helper: Helper | None = None
) -> Iterator[ProviderEvent]:
    """Translate a completed item."""
    tool = _tool(item)
    if tool is not None:
        yield ToolEnd(text(item.get("id")), tool[0], item, _is_error(item), helper)
        return
    match _kind(item):
        case "agentmessage":
            if message := text(item.get("text")):
                state.last_text = state.last_text if helper else message
                yield Message("assistant", message, helper is not None, helper)
        case "reasoning":
            if thought := _reasoning(item):
                yield Reasoning(thought, helper)
        case "todolist":
            yield todo_plan(items(item.get("items")))
        case "contextcompaction":
            yield Compaction(state.context_used, "auto", state.window)
        case "error":
            yield Error(text(item.get("message")) or "unknown error", "warning")


def todo_plan(todo: list[Any]) -> Plan:
    """Return the plan of a list of things to do, as ``exec`` or as ``app-server`` writes it."""
    return Plan(
        tuple(
            plan_step(
                text(entry.get("step")) or text(entry.get("text")),
                "completed" if entry.get("completed") is True else text(entry.get("status")),
            )
            for entry in map(mapping, todo)
        )
    )


def _tool(item: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return name and arguments of a tool call, by the names of labels (docs/api.md 9.3)."""
    match _kind(item):
        case "commandexecution":
            where = {"cwd": cwd} if (cwd := text(item.get("cwd"))) else {}
            return "bash", {"command": text(item.get("command")), **where}
        case "filechange":
            changes = [_change(mapping(change)) for change in items(item.get("changes"))]
            return _file_tool(changes), {"changes": changes}
        case "mcptoolcall":
            args = {key: item.get(key) for key in ("server", "tool", "arguments")}
            return text(item.get("tool")), args
        case "dynamictoolcall":
            return text(item.get("tool")), {"arguments": item.get("arguments")}
        case "websearch":
            return "WebSearch", {"query": text(item.get("query"))}
    return None


def _kind(item: dict[str, Any]) -> str:
    return text(item.get("type")).replace("_", "").lower()


def _change(change: dict[str, Any]) -> dict[str, str]:
    """Reduce a change to kind and path, the form that the loop detector compares."""
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
