"""Collect what a tool call does, as far as a policy asks: its commands, paths and host."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract.actions import action_of, canonical_name, kind_of, text_of
from agent_swarm_worker.guards.permissions.paths import (
    FILE_ACTIONS,
    CallPath,
    alternatives,
    host_of,
)
from agent_swarm_worker.guards.permissions.shell import ShellLine, SimpleCommand, read_command
from agent_swarm_worker.guards.permissions.shell_words import HOLE, Word

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from agent_swarm_worker.contract.permissions import PermissionRequest
    from agent_swarm_worker.contract.spec import ActionKind

SWARM_TOOLS = "mcp__agent-swarm__"
"""Beginning of the names of the swarm's own tools."""
MASK = "[REDACTED:"
"""Where a secret was in the arguments: the harness may run something else than what is judged."""
MAX_PATHS = 256
MAX_NESTED = 16
MAX_FOLDERS = 16
MAX_CLUSTERED = 10
"""Characters of an option, behind each of which its value may begin."""
_GLOB_KEYS = frozenset(
    {"glob", "globs", "include", "includes", "includepattern", "filepattern", "globpattern"}
)
_TAKES_NO_FILES = frozenset(
    {"echo", "printf", "true", "false", ":", "exit", "return", "sleep", "seq", "test", "[", "[["}
)
"""Programs whose arguments open no file."""
_WITHIN_DIRECTORY = frozenset({"search", "find-files", "list-directory"})
_PATH_KEY = re.compile(
    r".*(?:path|file|filename|dir|directory|folder|target|dest|destination|source|cwd)s?|to|from|uri"
)
"""Names of arguments that are paths, in lower case and without separators."""
_TEXTS = frozenset(
    {"content", "contents", "oldstring", "newstring", "oldstr", "newstr", "oldtext", "newtext"}
    | {"filetext", "inserttext", "newsource", "codeedit", "oldcontent", "newcontent", "patch"}
    | {"patchtext", "diff", "input", "pattern", "query", "regex", "description", "instruction"}
    | {"instructions", "explanation"}
)
"""Names of arguments that are text, whatever it looks like."""
_LISTS_OF_CHANGES = frozenset({"changes", "edits", "operations", "files", "filechanges", "paths"})
_PATCH_LINE = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$", re.MULTILINE)
_COMMAND_KEYS = ("command", "cmd", "command_line", "commandLine", "script", "argv")
_ADDRESS_KEYS = ("url", "uri", "urls", "address")
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,20}://[^\s'\"]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing that a call does, judged by itself."""

    kind: ActionKind
    names: tuple[str, ...]
    """Of the tool: the harness's, and the usual one."""
    label: str
    """For people."""
    claimed: ActionKind = "other"
    """The action by its arguments, which only deny."""
    command: SimpleCommand | None = None
    paths: tuple[CallPath, ...] | None = ()
    """Those that it names; ``None`` if some are not known."""
    other_paths: tuple[CallPath, ...] = ()
    """Values that may be paths: what allows a call has to allow them as well."""
    homes: tuple[str, ...] = ()
    """The session's directory, as given and with its links resolved."""
    hosts: tuple[str, ...] = ()
    globs: tuple[CallPath, ...] = ()
    """Patterns of paths, only for denying."""

    @property
    def is_swarms(self) -> bool:
        """True for a tool of the swarm's own server, whose name is exact."""
        tool = self.names[0].removeprefix(SWARM_TOOLS)
        is_other = tool == self.names[0] or not tool or "__" in tool
        return self.kind == "mcp" and not is_other


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories of a session, and how links are resolved."""

    cwd: str
    real_cwd: str
    directories: tuple[str, ...] | None
    """Those in which its shell may be by now; ``None``: unknown."""
    real_path: Callable[[str], Awaitable[str]]

    async def paths(self, path: str, directories: tuple[str, ...]) -> list[CallPath]:
        """Return what a path may mean."""
        found = []
        for directory in directories:
            given = posixpath.join(directory, path)
            try:
                real = await self.real_path(given)
            except (OSError, ValueError):
                real = ""
            found.append(CallPath(given=given, real=real, base=self.real_cwd, given_base=self.cwd))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a tool call does."""

    subjects: tuple[Subject, ...]
    directories: tuple[str, ...] | None
    """In which the session's shell may be afterwards."""


async def read_call(
    request: PermissionRequest, tools: Mapping[str, ActionKind], places: Places
) -> Call:
    """Return what a call does; `tools` are the actions of the harness's own tools."""
    args = request.args
    kind = kind_of(request.tool_name, tools)
    name = request.tool_name
    if kind == "other":  # an argument makes no known tool another one, and allows nothing
        name = canonical_name(name, args, tools)
    names = tuple(dict.fromkeys((request.tool_name, name)))
    label = action_of(request.tool_name, args, tools).subject or request.tool_name
    homes = (places.cwd, places.real_cwd)
    subject = Subject(
        kind=kind,
        names=names,
        label=f"{kind} {label}",
        claimed=kind_of(name, tools),
        homes=homes,
    )
    if kind == "shell":
        return await _shell_call(subject, args, places)
    directories = places.directories
    if kind == "fetch":
        subject = replace(subject, hosts=_hosts(args))
    elif kind in {*FILE_ACTIONS, "mcp", "other"}:
        paths = await _paths(kind, args, places)
        others = None if paths is None else await _resolved(list(_perhaps_paths(args)), places)
        paths = None if others is None else paths
        subject = replace(subject, paths=paths, other_paths=others or ())
        if kind in {"search", "find-files"}:
            subject = await _with_globs(subject, args, places)
    return Call(subjects=(subject,), directories=directories)


# --- files
async def _paths(kind: ActionKind, args: Any, places: Places) -> tuple[CallPath, ...] | None:
    if isinstance(args, str):  # a patch as text
        args = {"patch": args}
    found = list(_paths_in(args if isinstance(args, Mapping) else {}))
    if not found and kind in _WITHIN_DIRECTORY:
        found = ["."]
    pattern = text_of(args, "pattern", "glob") if kind == "find-files" else ""
    leaves = pattern.startswith(("/", "~")) or ".." in pattern.split("/")
    if leaves or (not found and kind in FILE_ACTIONS):
        return None
    return await _resolved(found, places)


async def _resolved(paths: list[str | None], places: Places) -> tuple[CallPath, ...] | None:
    named = [path for path in paths if path is not None]
    if len(named) < len(paths) or len(named) > MAX_PATHS:
        return None
    return tuple([one for path in named for one in await places.paths(path, (places.cwd,))])


async def _with_globs(subject: Subject, args: Any, places: Places) -> Subject:
    """Add the patterns by which a search chooses files."""
    keys = {*_GLOB_KEYS, "pattern"} if subject.kind == "find-files" else _GLOB_KEYS
    fields = args.items() if isinstance(args, Mapping) else ()
    values = [one for key, one in fields if re.sub(r"[^a-z]", "", str(key).lower()) in keys]
    globs: list[str] = []
    for value in (one for each in values for one in (each if isinstance(each, list) else [each])):
        expanded = alternatives(value) if isinstance(value, str) and "\0" not in value else None
        if expanded is None:
            return replace(subject, paths=None)
        globs += [part for one in expanded for part in re.split(r"[,\s]+", one) if part]
    found: list[CallPath] = []
    folders = [path.given for path in subject.paths or ()] or [places.cwd]
    for glob in globs[:MAX_PATHS]:
        bare = re.sub(r"^(?:\*\*/)+", "", glob)
        if bare[:1] == "!" or set(bare) <= set("*/"):
            continue  # leaves files out, or takes all of them
        forms = (bare, f"**/{bare}") if bare != glob or "/" not in bare else (bare,)
        for folder in folders[:MAX_FOLDERS]:
            joined = [posixpath.join(folder, form) for form in forms]
            found += [path for one in joined for path in await places.paths(one, (places.cwd,))]
    return replace(subject, globs=tuple(found))


def _paths_in(args: Mapping[str, Any], depth: int = 0) -> Iterator[str | None]:
    """Yield all paths among the arguments; ``None`` for one that cannot be read."""
    for key, value in args.items():
        name, is_path = _plain_name(key), _is_path_key(key)
        if isinstance(value, str):
            if is_path:
                yield _plain_path(value)
            if name in {"patch", "patchtext", "input", "diff"} and "*** Begin Patch" in value:
                yield from (_plain_path(path) for path in _PATCH_LINE.findall(value))
        elif isinstance(value, list) and (is_path or name in _LISTS_OF_CHANGES) and depth < 4:
            for item in value:
                if isinstance(item, Mapping):
                    yield from _paths_in(item, depth + 1)
                elif is_path:
                    yield _plain_path(item) if isinstance(item, str) else None
        elif isinstance(value, Mapping) and name in _LISTS_OF_CHANGES and depth < 4:
            for path, change in value.items():  # codex: path to change
                yield _plain_path(str(path))
                if isinstance(change, Mapping):
                    yield from _paths_in(change, depth + 1)
        elif is_path and value is not None:
            yield None


def _perhaps_paths(value: Any, depth: int = 0) -> Iterator[str | None]:
    """Yield the values that look like paths out of the session's directory, by whatever name."""
    if depth > MAX_NESTED:
        yield None
    elif isinstance(value, str):
        if value.startswith(("/", "~", "file:")) or ".." in value.split("/"):
            yield _plain_path(value)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if _plain_name(key) not in _TEXTS:
                yield from _perhaps_paths(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            yield from _perhaps_paths(one, depth + 1)


def _plain_name(key: object) -> str:
    return re.sub(r"[^a-z]", "", str(key).lower())


def _is_path_key(key: object) -> bool:
    name = _plain_name(key)
    return name not in _TEXTS and _PATH_KEY.fullmatch(name) is not None


def _plain_path(value: str) -> str | None:
    path = value.removeprefix("file://") if value.startswith("file:///") else value
    is_encoded = path != value and "%" in path
    if (
        not path
        or is_encoded
        or MASK in path
        or "\0" in path
        or "://" in path
        or path.startswith("~")
    ):
        return None
    return path


def _hosts(args: Any) -> tuple[str, ...]:
    fields = args if isinstance(args, Mapping) else {}
    values = [fields[key] for key in _ADDRESS_KEYS if key in fields]
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return tuple(host_of(one) if isinstance(one, str) and MASK not in one else "" for one in flat)


# --- shell commands
async def _shell_call(subject: Subject, args: Any, places: Places) -> Call:
    began_in = _directories(args, places)
    line = _shell_line(args, began_in)
    words = sum(len(command.words) for command in line.commands)
    subjects = []
    for command in line.commands:
        urls = [host_of(url) for word in command.words for url in _URL.findall(word.text)]
        paths = None if words > MAX_PATHS else await _words_as_paths(command, line, places)
        globs = () if paths is None else await _words_as_globs(command, line, places)
        if globs is None:
            paths, globs = None, ()
        label = f"`{command}`"
        subjects.append(
            replace(
                subject, command=command, label=label, hosts=tuple(urls), paths=paths, globs=globs
            )
        )
    for write in line.writes:
        written: tuple[CallPath, ...] | None = None
        if write.path.startswith("/") or (write.path and write.directories is not None):
            written = tuple(await places.paths(write.path, write.directories or (places.cwd,)))
        shown = f"`> {write.path or '?'}`"
        subjects.append(replace(subject, kind="write", label=shown, paths=written))
    has_moved = line.directories != began_in
    return Call(
        subjects=tuple(subjects),
        directories=line.directories if has_moved else places.directories,
    )


def _directories(args: Any, places: Places) -> tuple[str, ...] | None:
    """Return in which directories a command may begin."""
    fields = args if isinstance(args, Mapping) else {}
    given = [value for key, value in fields.items() if value and _is_path_key(key)]
    if any(not isinstance(one, str) or "\0" in one or one[0] == "~" for one in given):
        return None
    found = {posixpath.join(places.cwd, one) for one in given}
    if len(found) > 1:
        return None
    return tuple(found) or places.directories


def _shell_line(args: Any, directories: tuple[str, ...] | None) -> ShellLine:
    if MASK in str(args):
        return _unreadable("has a secret in it, so that it is not known as a whole")
    fields = args if isinstance(args, Mapping) else {"command": args}
    given = [fields[key] for key in _COMMAND_KEYS if fields.get(key)]
    arguments = fields.get("args") or []
    words = [*given[0], *arguments] if _are_words(given) and _are_words([arguments]) else []
    if words:
        return read_command(words, directories)
    if len(given) == 1 and isinstance(given[0], str):
        if not arguments:
            return read_command(given[0], directories)
        if _are_words([arguments]):
            return read_command([given[0], *arguments], directories)
    return _unreadable("is missing" if not given else "is neither text nor a list of words")


def _unreadable(why: str) -> ShellLine:
    return ShellLine(None, [SimpleCommand(words=(Word("?", is_known=False),), unreadable=why)])


def _are_words(values: list[Any]) -> bool:
    """True for one list of strings."""
    is_list = len(values) == 1 and isinstance(values[0], list)
    return is_list and all(isinstance(word, str) for word in values[0])


async def _words_as_paths(
    command: SimpleCommand, line: ShellLine, places: Places
) -> tuple[CallPath, ...] | None:
    """Return the arguments as paths: which of them are is not known, so only for denying.

    ``None`` in doubt: the command or its directory is not known, or an expansion makes its words.
    """
    if command.unreadable or line.directories is None:
        return None
    found: list[CallPath] = []
    directories = tuple(dict.fromkeys((places.cwd, *line.directories)))
    for word in _arguments(command):
        is_open = not word.is_known and not word.assigned and not _is_glob(word)
        is_open = is_open and (not word.is_single or word.text.startswith("~"))
        if is_open and command.words[0].text not in _TAKES_NO_FILES:
            return None
        for text in _parts(word.text):
            if text and "\0" not in text and len(text) < 4096 and "\n" not in text:
                found += await places.paths(text, directories)
    return tuple(found)


async def _words_as_globs(
    command: SimpleCommand, line: ShellLine, places: Places
) -> tuple[CallPath, ...] | None:
    """Return the arguments that the shell replaces by the files that fit; ``None`` in doubt."""
    found: list[CallPath] = []
    directories = tuple(dict.fromkeys((places.cwd, *(line.directories or ()))))
    for word in _arguments(command):
        if not _is_glob(word):
            continue
        expanded = alternatives(word.text)
        if expanded is None:
            return None
        for text in expanded:
            for part in _parts(text):
                found += await places.paths(part, directories) if part else ()
        if len(found) > MAX_PATHS:
            return None
    return tuple(found)


def _arguments(command: SimpleCommand) -> tuple[Word, ...]:
    return command.words[0 if command.words[0].assigned else 1 :]


def _is_glob(word: Word) -> bool:
    """True for a pattern, or braces, without another expansion."""
    has_wildcard = not set(word.text).isdisjoint("*?[{")
    is_other = HOLE in word.text or word.text.startswith("~")
    return not word.is_known and has_wildcard and not is_other


def _parts(text: str) -> list[str]:
    """Return what of a word may be a path, such as the value of an option."""
    found = [text]
    if text.startswith("-") and not text.startswith("--"):
        found = [text[number:] for number in range(2, min(len(text), MAX_CLUSTERED))]
    for separator in "=:@":
        found.append(text.partition(separator)[2])
    return [one.removeprefix("@") for one in found]
