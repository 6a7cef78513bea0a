"""Tell what a tool call does, whatever the harness calls its tool: `action_of`.

A harness declares the actions of its own tools (`HarnessSpec.tools`); common names are known here.
Labels, the console and the events sent to the API speak of actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agent_swarm_worker.contract.spec import ActionKind

USUAL_TOOLS: Final[Mapping[str, ActionKind]] = {
    "read": "read",
    "edit": "edit",
    "multiedit": "edit",
    "notebookedit": "edit",
    "write": "write",
    "bash": "shell",
    "grep": "search",
    "glob": "find-files",
    "find": "find-files",
    "ls": "list-directory",
    "websearch": "web-search",
    "webfetch": "fetch",
    "agent": "subagent",
    "task": "subagent",
    "skill": "skill",
    "todoread": "plan",
    "todowrite": "plan",
    "exitplanmode": "plan",
    "askuserquestion": "question",
    "toolsearch": "housekeeping",
}
"""The actions of tools by their usual names, in lower case; a harness's spec adds its own."""
_PATHS = ("file_path", "filePath", "path", "absolute_path", "notebook_path", "target_file")
_SUBJECTS: Final[Mapping[ActionKind, tuple[str, ...]]] = {
    "read": _PATHS,
    "edit": _PATHS,
    "write": _PATHS,
    "shell": ("command", "cmd", "command_line"),
    "search": ("pattern", "query", "regex"),
    "find-files": ("pattern", "query", "glob"),
    "list-directory": ("path", "dir_path", "folder", "directory"),
    "web-search": ("query", "q"),
    "fetch": ("url", "uri"),
    "subagent": ("description", "title", "name"),
    "skill": ("skill", "name"),
    "question": ("question", "prompt", "message"),
}
"""The names under which harnesses pass the one argument that tells most."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a tool call does."""

    kind: ActionKind
    subject: str = ""
    """The file, command, pattern, address, question or ``server:tool``; empty if unknown."""
    description: str = ""
    """The agent's own words about the call, if the tool takes some."""


def action_of(tool_name: str, args: Any, tools: Mapping[str, ActionKind] = USUAL_TOOLS) -> Action:
    """Return the action of a tool call; arguments of any shape are accepted.

    `tools` has the actions of the harness's own tools, by their name in lower case.
    """
    native = args if isinstance(args, Mapping) else {}
    name = canonical_name(tool_name, native, tools)
    if (kind := kind_of(name, tools)) == "mcp":
        return Action(kind, name.removeprefix("mcp__").replace("__", ":", 1))
    subject = text_of(native, *_SUBJECTS.get(kind, ()))
    if kind == "question" and not subject:  # claude asks several at once
        first = next(iter(_items(native.get("questions"))), None)
        subject = text_of(first, "question") if isinstance(first, Mapping) else ""
    if kind in {"edit", "write"} and not subject:  # codex changes several files at once
        changes = [text_of(one, "path") for one in _items(native.get("changes"))]
        subject = ", ".join(filter(None, changes))
    return Action(kind, subject, text_of(native, "description"))


def kind_of(name: str, tools: Mapping[str, ActionKind] = USUAL_TOOLS) -> ActionKind:
    """Return the kind of action of a tool, by its canonical name."""
    known = name.lower()
    kind = tools.get(known) or USUAL_TOOLS.get(known)
    return kind or ("mcp" if known.startswith("mcp__") else "other")


def canonical_name(tool_name: str, args: Any, tools: Mapping[str, ActionKind] = USUAL_TOOLS) -> str:
    """Return one name for a tool that harnesses name differently.

    Some pass server and tool of an MCP call as arguments; some write built-in tools in lower case.
    An argument does not make a known tool another one.
    """
    has_server = isinstance(args, Mapping) and "server" in args and "tool" in args
    if has_server and kind_of(tool_name, tools) == "other":
        server, tool = text_of(args, "server"), text_of(args, "tool")
        if server and tool:
            return f"mcp__{server}__{tool}"
    if "_" in tool_name:
        return tool_name
    return tool_name[:1].upper() + tool_name[1:]


def text_of(args: Any, *keys: str) -> str:
    """Return the first of these values that is a string and not blank, or an empty string."""
    values = (args.get(key) for key in keys) if isinstance(args, Mapping) else ()
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
