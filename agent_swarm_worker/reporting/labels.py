"""One short line on what the agent is doing, made from a tool call.

It becomes the task's progress text (docs/api.md 5.9).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from agent_swarm_worker.reporting.swarm_tools import swarm_label
from agent_swarm_worker.reporting.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ActionKind

MAX_LABEL_CHARS = 300

USUAL_TOOLS: Final[Mapping[str, ActionKind]] = {
    "read": "read",
    "edit": "edit",
    "multiedit": "edit",
    "write": "write",
    "bash": "shell",
    "grep": "search",
    "glob": "find-files",
    "find": "find-files",
    "ls": "list-directory",
    "agent": "subagent",
    "task": "subagent",
    "skill": "skill",
    "toolsearch": "housekeeping",
    "todoread": "housekeeping",
    "todowrite": "housekeeping",
}
"""What tools of these names do in most harnesses; a harness's spec adds its own."""
_SWARM_SERVER = "agent-swarm"
_OWN_REPORT = "store-progress"
_ACRONYMS = re.compile(r"\b(?:mcp|kv|api|url|id)\b", re.IGNORECASE)


def label(
    tool_name: str,
    args: Any,
    *,
    scrub: Callable[[str], str] = str,
    tools: Mapping[str, ActionKind] = USUAL_TOOLS,
) -> str | None:
    """Describe a tool call, or return nothing for one that is not worth telling.

    Args:
        tool_name: as the harness names it.
        args: whatever the harness passed; used only as far as it is a mapping with strings.
        tools: what the harness's own tools do, by their name in lower case.
        scrub: takes secrets out; runs before the text is cut, so that no half secret is left.

    Returns:
        One line of at most `MAX_LABEL_CHARS` characters, without control characters.
    """
    words = _words(tool_name, args if isinstance(args, Mapping) else {}, tools)
    return one_line(scrub(words), MAX_LABEL_CHARS) if words else None


def has_label(tool_name: str, args: Any, *, tools: Mapping[str, ActionKind] = USUAL_TOOLS) -> bool:
    """True if `label` has something to say of this call."""
    name = canonical_name(tool_name, args)
    return _kind(name, tools) != "housekeeping" and not _is_own_report(name)


def _kind(name: str, tools: Mapping[str, ActionKind]) -> ActionKind | None:
    known = name.lower()
    return tools.get(known) or USUAL_TOOLS.get(known)


def canonical_name(tool_name: str, args: Any) -> str:
    """Return one spelling for tools that harnesses spell differently.

    Some pass server and tool of an MCP call as arguments; some write built-in tools in lower case.
    """
    if isinstance(args, Mapping) and "server" in args and "tool" in args:
        server, tool = _text(args, "server"), _text(args, "tool")
        if server and tool:
            return f"mcp__{server}__{tool}"
    if "_" in tool_name:
        return tool_name
    return tool_name[:1].upper() + tool_name[1:]


def _words(tool_name: str, args: Mapping[Any, Any], tools: Mapping[str, ActionKind]) -> str | None:
    name = canonical_name(tool_name, args)
    kind = _kind(name, tools)
    if kind == "housekeeping" or _is_own_report(name):
        return None
    if name.startswith("mcp__"):
        return _mcp_words(name)
    return (
        (_builtin_words(kind, args) if kind else None)
        or swarm_label(tool_name)
        or f"🔧 {_humanise(name)}"
    )


def _is_own_report(name: str) -> bool:
    """True for the agent's own report of its progress."""
    if name.lower().replace("_", "-") == _OWN_REPORT:
        return True
    if not name.startswith("mcp__"):
        return False
    server, _, tool = name.removeprefix("mcp__").partition("__")
    return server.replace("_", "-") == _SWARM_SERVER and tool.replace("_", "-") == _OWN_REPORT


def _mcp_words(name: str) -> str:
    server, _, tool = name.removeprefix("mcp__").partition("__")
    if server.replace("_", "-") != _SWARM_SERVER:
        return f"🔌 {server}: {_humanise(tool)}" if tool else f"🔌 {_humanise(server)}"
    return swarm_label(tool) or f"🔌 {_humanise(tool)}"


def _builtin_words(kind: ActionKind, args: Mapping[Any, Any]) -> str | None:
    match kind:
        case "read":
            return f"📖 Reading {_short_path(args)}"
        case "edit":
            return f"✏️ Editing {_short_path(args)}"
        case "write":
            return f"📝 Writing {_short_path(args)}"
        case "shell":
            return f"⚡ {_text(args, 'description') or 'Running a command'}"
        case "search":
            return f'🔍 Searching for "{_text(args, "pattern") or "text"}"'
        case "find-files":
            return f"📁 Looking for {_text(args, 'pattern') or 'files'}"
        case "list-directory":
            place = _text(args, "path")
            return f"📁 Listing {'the directory' if place in ('', '.') else _short_path(args)}"
        case "subagent":
            return f"🤖 {_text(args, 'description') or 'Starting a helper'}"
        case "skill":
            skill = _text(args, "skill")
            return f"⚙️ Using /{skill}" if skill else "⚙️ Using a skill"
    return None


def _short_path(args: Mapping[Any, Any]) -> str:
    path = _text(args, "file_path", "filePath", "path")
    return "/".join(re.split(r"[/\\]+", path.rstrip("/\\"))[-2:]) or "a file"


def _text(args: Mapping[Any, Any], *keys: str) -> str:
    """Return the first of these that is a string and not blank, or an empty string."""
    values = (args.get(key) for key in keys)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def _humanise(name: str) -> str:
    """``create_issue-id`` becomes ``Create issue ID``."""
    words = re.sub(r"[-_]+", " ", name).strip()
    sentence = words[:1].upper() + words[1:]
    return _ACRONYMS.sub(lambda match: match.group().upper(), sentence) or "Using a tool"
