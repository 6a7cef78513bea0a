"""Tell whether a simple command only reads: a closed list of programs, with their options.

Whatever may run another program, write a file, use the network or change a setting is refused, and
so is an argument that may become such an option.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.guards.permissions.shell_words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.guards.permissions.shell import SimpleCommand
    from agent_swarm_worker.guards.permissions.shell_words import Word

_ANY_ARGUMENTS = frozenset(
    {
        "[",
        "[[",
        "basename",
        "b2sum",
        "cat",
        "cksum",
        "cmp",
        "column",
        "comm",
        "cut",
        "df",
        "dirname",
    }
    | {"diff", "du", "echo", "egrep", "expand", "export", "false", "fgrep", "fmt", "fold", "free"}
    | {"grep", "head", "hexdump", "id", "join", "jq", "ls", "md5sum", "nl", "nproc", "od", "paste"}
    | {"printf", "ps", "pwd", "readlink", "realpath", "rev", "seq", "sha1sum", "sha224sum"}
    | {"sha256sum", "sha384sum", "sha512sum", "sleep", "stat", "strings", "sum", "tac", "tail"}
    | {"test", "tr", "true", "type", "uname", "unexpand", "uptime", "wc", "whereis", "which"}
    | {
        "whoami",
        "cd",
        "command",
        "read",
        "set",
        ":",
        "exit",
        "break",
        "continue",
        "local",
        "return",
    }
)
"""Programs of which no argument writes, runs or sends anything."""
_REFUSED_OPTIONS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "sort": ("oT", ("output", "compress-program", "temporary-directory", "files0-from")),
    "tree": ("oR", ("output",)),
    "rg": ("z", ("pre", "pre-glob", "hostname-bin", "search-zip")),
    "fd": ("xX", ("exec", "exec-batch")),
    "fdfind": ("xX", ("exec", "exec-batch")),
    "file": ("CmSzZ", ("compile", "magic-file", "uncompress", "uncompress-noreport")),
    "base64": ("o", ("output",)),
}
"""Letters and long options of programs that otherwise only read."""
_FIND_ACTIONS = ("-exec", "-ok", "-delete", "-fprint", "-fls")
_SED_SCRIPT = re.compile(r"(?:\d+|\$)(?:,(?:\d+|\$))?p")
_GIT_ANY = frozenset(
    {"status", "log", "show", "diff", "blame", "annotate", "grep", "ls-files", "ls-tree"}
    | {"rev-parse", "rev-list", "describe", "shortlog", "merge-base", "name-rev", "for-each-ref"}
    | {
        "diff-tree",
        "diff-index",
        "diff-files",
        "count-objects",
        "whatchanged",
        "cherry",
        "show-ref",
    }
    | {"cat-file", "version", "check-ignore", "check-attr", "range-diff"}
)
_GIT_REFUSED = (
    *("output", "ext-diff", "textconv", "filters", "open-files-in-pager", "exec"),
    *("upload-pack", "receive-pack", "config-env", "git-dir", "work-tree"),
)
_GIT_LISTING: Final[Mapping[str, tuple[frozenset[str], re.Pattern[str]]]] = {
    "branch": (
        frozenset(),
        re.compile(r"-[arv]+|--all|--remotes|--list|-l|--show-current|--verbose|--no-color"),
    ),
    "tag": (frozenset(), re.compile(r"-l|--list|-n\d*")),
    "remote": (frozenset(), re.compile(r"-v|--verbose")),
    "stash": (frozenset({"list", "show"}), re.compile(r"-p|--stat|stash@\{\d+\}")),
    "worktree": (frozenset({"list"}), re.compile(r"--porcelain")),
    "reflog": (frozenset(), re.compile(r"show|-n?\d+|HEAD")),
}
"""All arguments of a subcommand that otherwise changes something: the first one, if one is needed,
and the others."""
_GIT_CONFIG = frozenset({"--get", "--get-all", "--list", "-l", "get", "list"})


def reads_only(command: SimpleCommand, homes: Sequence[str]) -> bool:
    """True if it is certain that the command only reads; `homes` name the session's directory."""
    name = command.words[0].text
    args = command.words[1:]
    if command.unreadable or not command.words[0].is_known:
        return False
    if name in _ANY_ARGUMENTS:
        return True
    if name in _REFUSED_OPTIONS:
        return _has_none(args, *_REFUSED_OPTIONS[name])
    if name == "git":
        return _git(args, command.directories or (), homes)
    check = _CHECKS.get(name)
    return check is not None and check(args)


def _is_operand(word: Word) -> bool:
    """True if the word cannot become an option, nor several words of which one is."""
    begins_with_text = word.text[:1] not in {"", HOLE, "-", "*", "?", "[", "{", "~", "$"}
    return word.is_known or (begins_with_text and (word.is_single or HOLE not in word.text))


def _has_none(args: Sequence[Word], letters: str, long: Sequence[str]) -> bool:
    """True if no argument is, or may become, one of these options or a shortened form of it.

    ``--`` may be the value of an option. It ends the options for sure behind an operand, and then
    expansions may follow; known words are looked at in any case.
    """
    is_ended, before = False, ""
    for word in args:
        text = word.text
        if not is_ended and not _is_operand(word):
            return False
        is_ended = is_ended or (word.is_known and text == "--" and not before.startswith("-"))
        before = text
        if text == "--":
            continue
        if text.startswith("--"):
            name = text[2:].partition("=")[0]
            if any(one.startswith(name) or name.startswith(one) for one in long):
                return False
        elif text.startswith("-") and not set(letters).isdisjoint(text):
            return False
    return True


def _find(args: Sequence[Word]) -> bool:
    return all(_is_operand(word) and not word.text.startswith(_FIND_ACTIONS) for word in args)


def _sed(args: Sequence[Word]) -> bool:
    """``sed -n 1,20p FILE``."""
    is_printing = len(args) >= 2 and args[0].text == "-n"
    script = args[1] if is_printing else None
    if script is None or not (script.is_known and _SED_SCRIPT.fullmatch(script.text)):
        return False
    return all(_is_operand(word) and not word.text.startswith("-") for word in args[2:])


def _uniq(args: Sequence[Word]) -> bool:
    """True with at most one file: the second one is written."""
    texts = [word.text for word in args]
    end = texts.index("--") if "--" in texts else len(texts)
    operands = [text for text in texts[:end] if text == "-" or not text.startswith("-")]
    is_certain = all(_is_operand(word) and word.is_single for word in args)
    return is_certain and len(operands) + len(texts[end + 1 :]) <= 1


def _date(args: Sequence[Word]) -> bool:
    texts = [word.text for word in args]
    safe = all(
        text in {"-u", "-R", "-I", "--utc"} or text.startswith(("+", "-I", "--iso"))
        for text in texts
    )
    return safe and all(word.is_known or (word.text[0] == "+" and word.is_single) for word in args)


def _nothing(args: Sequence[Word]) -> bool:
    return not args


def _git(args: Sequence[Word], directories: Sequence[str], homes: Sequence[str]) -> bool:
    """Elsewhere the configuration may be one that somebody put into the repository as files."""
    rest = list(args)
    while rest and rest[0].text.startswith("-") and rest[0].is_known:
        option = rest.pop(0).text
        if option == "-C" and rest and rest[0].is_known:
            target = rest.pop(0).text
            from_any = ("/",) if target.startswith("/") else directories
            directories = [posixpath.join(one, target) for one in from_any]
        elif option in {"--version", "--no-pager", "--no-optional-locks", "--literal-pathspecs"}:
            continue
        else:
            return False
    if not rest:
        return True
    is_home = all(".." not in one.split("/") for one in directories) and bool(directories)
    is_home = is_home and {posixpath.normpath(one) for one in directories} <= {*homes}
    if not (is_home and rest[0].is_known):
        return False
    subcommand, rest = rest[0].text, rest[1:]
    texts = [word.text for word in rest]
    if subcommand in _GIT_LISTING:
        firsts, others = _GIT_LISTING[subcommand]
        if firsts and not (texts and texts[0] in firsts):
            return False
        options = rest[1:] if firsts else rest
        return all(word.is_known and others.fullmatch(word.text) for word in options)
    if subcommand == "config":
        is_reading = bool(texts) and texts[0] in _GIT_CONFIG
        return (
            is_reading
            and all(_is_operand(word) for word in rest)
            and not any(text.startswith("-") for text in texts[1:])
        )
    letters = "O" if subcommand == "grep" else ""
    return subcommand in _GIT_ANY and _has_none(rest, letters, _GIT_REFUSED)


_CHECKS: Final[Mapping[str, Callable[[Sequence[Word]], bool]]] = {
    "find": _find,
    "sed": _sed,
    "uniq": _uniq,
    "date": _date,
    "hostname": _nothing,
    "printenv": lambda _: True,
    "env": _nothing,
}
