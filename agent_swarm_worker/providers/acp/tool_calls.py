"""Merge what an agent tells about one tool call, and read its name, arguments and outcome.

The first sight of a call may be ``tool_call``, ``tool_call_update`` or a permission request; a
missing key means unchanged. Agents differ in where the tool's name is, and ``completed`` of a shell
command does not mean that it exited with 0. A title and the arguments may be the model's text: they
name a call for people, but not for a policy (`ToolCall.judged`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract.actions import kind_of
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent_swarm_worker.contract import Helper
    from agent_swarm_worker.contract.spec import ActionKind
    from agent_swarm_worker.providers.acp.target import ToolNames

MAX_OUTPUT_CHARS = 1 << 20
"""Of output that comes in pieces, the last part is kept."""
_IDENTIFIER = re.compile(r"[A-Za-z][\w./-]*")
_NAMED_TITLE = re.compile(r"([a-z]\w*): ")
_NAMED_ID = re.compile(r"([A-Za-z][\w-]*?)__\1_\d+")
_BY_KIND = {"execute": "bash", "search": "grep", "other": ""}
"""Names for a call of which only the kind is known; another kind is a name itself."""
_FILES = frozenset({"read", "search", "find-files", "list-directory"})
_ACTIONS_OF_KIND: Mapping[str, frozenset[str]] = {
    "execute": frozenset({"shell"}),
    "edit": frozenset({"edit", "write"}),
    "delete": frozenset({"edit"}),
    "move": frozenset({"edit"}),
    "fetch": frozenset({"fetch"}),
    "read": _FILES,
    "search": _FILES,
}
"""What a call of a kind may be; a title that names something else is not believed."""
_OTHER_KINDS = frozenset({"other", "think", "switch_mode"})
_WRAPPERS = {
    "use_tool": (("tool_name", "tool_input"),),
    "tool_call": (("name", "arguments"), ("name", "args")),
}
"""Keys of calls to a tool that calls another one."""
_ENDED = frozenset({"completed", "failed"})


@dataclass(slots=True)
class ToolCall:
    """One tool call, as far as it is known."""

    id: str
    helper: Helper | None = None
    name: str = ""
    """As the agent gives it beside the title."""
    titled: str = ""
    """The name in the first title."""
    has_name_as_title: bool = False
    """That title is the name alone, and came with the call itself, not with a question about it."""
    is_mcp: bool = False
    """The agent says that it is a call of a tool server."""
    title: str = ""
    kind: str = ""
    status: str = ""
    raw_input: Any = None
    raw_output: Any = None
    content: list[Any] = field(default_factory=list)
    locations: list[Any] = field(default_factory=list)
    output: str = ""
    """Of a terminal, in pieces."""
    exit_code: int | None = None
    is_started: bool = False
    """`ToolStart` was emitted."""
    is_asked: bool = False

    @property
    def is_over(self) -> bool:
        """True once the agent has reported its end."""
        return self.status in _ENDED

    @property
    def is_described(self) -> bool:
        """True if the call can be shown: its arguments are known, or will not come before it."""
        has_input = self.raw_input is not None and set(mapping(self.raw_input)) != {"cwd"}
        return has_input or self.is_asked or self.status in {"in_progress", *_ENDED}

    def merge(self, update: dict[str, Any]) -> None:
        """Take one update."""
        meta = mapping(update.get("_meta"))
        self.name = _name_in(meta) or self.name or text(update.get("name"))
        self.is_mcp = self.is_mcp or meta.get("is_mcp_tool_call") is True
        for key in ("title", "kind", "status"):
            if value := text(update.get(key)):
                if key == "title" and not self.title:
                    self.titled = _name_of_title(value)
                    is_call = update.get("sessionUpdate") == "tool_call"
                    self.has_name_as_title = is_call and value == self.titled
                setattr(self, key, value)
        if "rawInput" in update and update["rawInput"] not in (None, {}, ""):
            self.raw_input = update["rawInput"]
        if update.get("rawOutput") is not None:
            self.raw_output = update["rawOutput"]
        if isinstance(update.get("content"), list):
            self.content = update["content"]
        if isinstance(update.get("locations"), list):
            self.locations = update["locations"]
        for key in ("terminal_output", "terminal_output_delta"):
            piece = text(mapping(meta.get(key)).get("data"))
            self.output = (self.output + piece)[-MAX_OUTPUT_CHARS:]
        self._take_exit(mapping(meta.get("terminal_exit")).get("exit_code"))
        self._take_exit(_exit_code_in(self.raw_output))

    def _take_exit(self, code: Any) -> None:
        if isinstance(code, int) and not isinstance(code, bool):
            self.exit_code = code

    def identity(self, servers: Iterable[str]) -> tuple[str, Any]:
        """Return name and arguments; the tool of one of these servers is named ``mcp__S__TOOL``."""
        args = self.raw_input
        name = self.name or self.titled
        if not name and (found := _NAMED_ID.match(self.id)):
            name = found[1]
        name = name or _BY_KIND.get(self.kind, self.kind) or self.title or "tool"
        fields = mapping(args)
        if name in _WRAPPERS:
            name, args = _unwrapped(name, args)
        elif text(fields.get("server")) and text(fields.get("tool")) and "arguments" in fields:
            name, args = f"mcp__{fields['server']}__{fields['tool']}", fields["arguments"]
        if args in (None, {}, ""):
            args = self._shown_arguments(name)
        return _server_tool(name, servers) or name, args

    def judged(
        self, servers: Iterable[str], tools: Mapping[str, ActionKind], names: ToolNames
    ) -> tuple[str, Any]:
        """Return name and arguments for a policy: what the model writes chooses no name."""
        name, args = self._judged_name(tools, names), self.raw_input
        fields = mapping(args)
        if name in _WRAPPERS:
            inner, inner_args = _unwrapped(name, args)
            if found := _server_tool(inner, servers):
                return found, inner_args
        server, tool = text(fields.get("server")), text(fields.get("tool"))
        if self.is_mcp and not self.name and server and tool:
            return f"mcp__{server}__{tool}", fields.get("arguments")
        if args in (None, {}, ""):
            args = self._shown_paths() or ({"title": self.title} if self.title else {})
        is_named = name not in (self.kind, _BY_KIND.get(self.kind))
        return (is_named and _server_tool(name, servers)) or name, args

    def _judged_name(self, tools: Mapping[str, ActionKind], names: ToolNames) -> str:
        if self.name:
            return self.name
        if names == "id" and (found := _NAMED_ID.match(self.id)):
            return found[1]
        if self.kind in _ACTIONS_OF_KIND:
            is_such = kind_of(self.titled, tools) in _ACTIONS_OF_KIND[self.kind]
            return self.titled if is_such else _BY_KIND.get(self.kind, self.kind)
        if names == "title" and self.has_name_as_title:
            return self.titled
        return self.kind if self.kind in _OTHER_KINDS else "tool"

    def _shown_paths(self) -> dict[str, Any]:
        paths = [text(mapping(location).get("path")) for location in self.locations]
        paths += [text(mapping(part).get("path")) for part in self.content]
        found = list(dict.fromkeys(filter(None, paths)))
        if len(found) > 1:
            return {"path": found[0], "paths": found}
        return {"path": found[0]} if found else {}

    def _shown_arguments(self, name: str) -> dict[str, Any]:
        """Return what the call shows of arguments that it does not tell."""
        if shown := self._shown_paths():
            return shown
        if not self.title or self.title == name:
            return {}
        return {"command" if self.kind == "execute" else "title": self.title}

    @property
    def is_error(self) -> bool:
        """True if it failed, or its command did not exit with 0."""
        return self.status == "failed" or bool(self.exit_code)

    @property
    def result(self) -> Any:
        """Its output as text, or whatever else the agent gives."""
        texts = []
        for part in map(mapping, self.content):
            inner = mapping(part.get("content"))
            texts.append(text(inner.get("text")) or _diff(part))
        shown = "\n".join(filter(None, texts))
        return shown or self.output or ("" if self.raw_output is None else self.raw_output)


def _diff(part: dict[str, Any]) -> str:
    return f"changed {text(part.get('path'))}" if part.get("type") == "diff" else ""


def _name_in(meta: dict[str, Any]) -> str:
    """Return the tool's name that an agent puts beside the protocol."""
    for fields in (meta, *map(mapping, meta.values())):
        if found := text(fields.get("toolName")) or text(fields.get("tool_name")):
            return found
    return next(
        (
            text(mapping(value).get("name"))
            for key, value in meta.items()
            if key.endswith("/tool") and mapping(value).get("name")
        ),
        "",
    )


def _unwrapped(name: str, args: Any) -> tuple[str, Any]:
    """Return name and arguments of the tool that a wrapper calls."""
    fields = mapping(args)
    for name_key, args_key in _WRAPPERS[name]:
        if (inner := text(fields.get(name_key))) and args_key in fields:
            return inner, fields[args_key]
    return text(fields.get(_WRAPPERS[name][0][0])) or name, None


def _name_of_title(title: str) -> str:
    if _IDENTIFIER.fullmatch(title):
        return title
    found = _NAMED_TITLE.match(title)
    return found[1] if found else ""


def _server_tool(name: str, servers: Iterable[str]) -> str | None:
    """Return the canonical name of a tool of one of the servers; agents join the parts freely."""
    for server in servers:
        words = r"[-_]".join(map(re.escape, re.split(r"[-_]", server)))
        found = re.fullmatch(rf"(?:mcp[_.]{{1,2}})?{words}(?:_{{1,3}}|[-/.:])(.+)", name)
        if found:
            return f"mcp__{server}__{found[1]}"
    return None


def _exit_code_in(output: Any) -> Any:
    fields = mapping(output)
    for key in ("exit_code", "exitCode"):
        if key in fields:
            return fields[key]
    metadata = mapping(fields.get("metadata"))
    if "exit" in metadata:
        return metadata["exit"]
    for part in map(mapping, items(fields.get("contents"))):
        if "exitCode" in part:
            return part["exitCode"]
    return None
