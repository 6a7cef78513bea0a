"""Programs that run other programs, and shell built-ins whose effect is not read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.guards.permissions.shell_words import HOLE, Unreadable, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SYSTEM_DIRECTORIES = frozenset(
    {"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}
    | {"/opt/homebrew/bin", "/run/current-system/sw/bin"}
)
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash"})
_HARMLESS = frozenset(
    {"LANG", "LANGUAGE", "TZ", "CI", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    | {"CLICOLOR", "CLICOLOR_FORCE", "NODE_ENV", "RUST_BACKTRACE", "PYTHONUNBUFFERED", "DEBUG"}
    | {"PYTHONDONTWRITEBYTECODE", "DEBIAN_FRONTEND", "GIT_TERMINAL_PROMPT", "VERBOSE"}
)
"""Variables that make no program run another one, or load code."""
_PAGERS = frozenset({"PAGER", "GIT_PAGER", "MANPAGER"})
_UNREAD_BUILTINS: Final[Mapping[str, str]] = {
    "eval": "evaluates text",
    "source": "runs a file in this shell",
    ".": "runs a file in this shell",
    "trap": "runs commands later",
    "hash": "changes which programs run",
    "alias": "changes which programs run",
    "unalias": "changes which programs run",
    "enable": "changes which programs run",
    "shopt": "changes how commands are read",
    "bind": "runs commands later",
    "complete": "runs commands later",
    "compgen": "runs commands",
    "fc": "runs commands again",
    "mapfile": "may run commands",
    "readarray": "may run commands",
    "let": "evaluates arithmetic",
    "getopts": "sets variables",
    "unset": "changes variables",
}
_EVALUATING = frozenset({"test", "[", "[[", "printf", "read"})
"""Built-ins that evaluate some of their arguments."""
_COMPARISONS = frozenset({"=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot"})
_UNARY = frozenset(f"-{letter}" for letter in "bcdefghknprstuwxzGLNOS")
_DECLARING = frozenset({"export", "declare", "typeset", "local", "readonly"})
_SET_OPTION = re.compile(r"[-+][euxfCv]*o?")
_LOWER_CASE = re.compile(r"[a-z_][a-z0-9_]*")


def program_name(text: str) -> str:
    """Return the name of a program; its path, if that is not in a directory of the system."""
    folder, _, name = text.rpartition("/")
    return name if folder in _SYSTEM_DIRECTORIES else text


def is_harmless_variable(name: str, word: Word, *, exported: bool) -> bool:
    """True if a variable changes nothing but the values of expansions, and the looks of output."""
    if "$(" in word.text or "`" in word.text:
        return False  # `test` and others evaluate such a value
    if name in _PAGERS:
        return word.is_known and word.text.partition("=")[2] in {"", "cat"}
    if name in _HARMLESS or name.startswith("LC_"):
        return True
    is_own = _LOWER_CASE.fullmatch(name) is not None and not name.endswith("_proxy")
    return is_own and name not in {"path", "fpath", "cdpath"} and not exported


def own_effect(words: Sequence[Word]) -> str:
    """Return why it is not known what a built-in does; empty if it is no such built-in."""
    name, args = words[0].text, words[1:]
    if name in SHELLS:
        return _effect_of_shell(name, args)
    if name in _UNREAD_BUILTINS:
        return _UNREAD_BUILTINS[name]
    if name in _EVALUATING:
        return _effect_of_evaluating(name, args)
    if name in _DECLARING:
        for word in args:
            variable = word.text.partition("=")[0]
            if not is_harmless_variable(variable, word, exported=name == "export"):
                return f"sets {variable}"
        return ""
    if name == "set":
        is_usual = all(_SET_OPTION.fullmatch(word.text) or word.text == "pipefail" for word in args)
        return "" if is_usual and all(word.is_known for word in args) else "changes the shell"
    return ""


def _effect_of_evaluating(name: str, args: Sequence[Word]) -> str:
    if any("$(" in word.text or "`" in word.text for word in args):
        return "evaluates text"
    if name == "read":
        return "" if all(_is_own_name(word) for word in args) else "sets variables"
    if name == "printf":
        is_format = bool(args) and args[0].text[:1] not in {"-", HOLE, ""}
        return (
            ""
            if is_format or (args and args[0].is_known and args[0].text == "--")
            else ("may set a variable")
        )
    is_test = name in {"test", "["} and not _is_plain_test(args)
    return "may evaluate text" if is_test else ""


def _is_plain_test(args: Sequence[Word]) -> bool:
    """True if no word with an expansion can be ``-v``, which evaluates a subscript."""
    if args and args[-1].is_known and args[-1].text == "]":
        args = args[:-1]
    if any(word.text in {"-v", "-R"} or not word.is_single for word in args):
        return False
    if len(args) <= 2:
        return len(args) < 2 or args[0].is_known
    texts = ["", *(word.text if word.is_known else "" for word in args), ""]
    return all(
        word.is_known or texts[n] in {*_COMPARISONS, *_UNARY} or texts[n + 2] in _COMPARISONS
        for n, word in enumerate(args)
    )


def _is_own_name(word: Word) -> bool:
    is_option = word.text in {"-r", "-s", "-ra", "-a"}
    name = word.text
    return word.is_known and (is_option or is_harmless_variable(name, word, exported=False))


def _effect_of_shell(name: str, args: Sequence[Word]) -> str:
    """Return why a shell is not read that was not given its commands as an argument."""
    options = [word for word in args if word.text[:1] in "-+"]
    has_file = any(word.text[:1] not in "-+" for word in args)
    is_version = len(args) == 1 and args[0].text == "--version"
    if is_version or (has_file and not options and args[0].is_known):
        return ""
    return f"{name} runs commands that are not on the command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What a program runs."""

    commands: tuple[tuple[Word, ...], ...] = ()
    scripts: tuple[str, ...] = ()
    """Shell commands."""
    is_bash: bool = False
    """It is known that bash runs the scripts."""
    is_transparent: bool = True
    """The program itself needs no permission."""
    is_privileged: bool = False
    """The program alone is judged, with the command as its arguments."""
    changes_directory: bool = False
    runs_more: bool = False
    """It also runs something that is not read: a rule that denies may fit."""


def wrapped_commands(words: Sequence[Word]) -> Wrapped | None:
    """Return what a program runs; ``None`` if it runs nothing that is read.

    Raises:
        Unreadable: it runs something that is not known.
    """
    name = words[0].text
    reader = _READERS.get(name) if words[0].is_known else None
    if reader:
        return reader(words)
    is_runner = name in _RUNNERS or name.rpartition("/")[2].startswith(("ld-linux", "ld.so"))
    return _UNKNOWN if is_runner else None


def _split(
    words: Sequence[Word], *, flags: str = "", valued: str = "", long: Sequence[str] = ()
) -> tuple[list[tuple[str, str]], list[Word]]:
    """Split a program's own options, each with its value, from the rest.

    `flags` and `valued` are the letters of options without and with a value; `long` has whole long
    options, which end with ``=`` if they take a value, and with ``=?`` if they are only read with
    a value behind ``=``.
    """
    own: list[tuple[str, str]] = []
    rest = list(words[1:])
    while rest and rest[0].text[:1] == "-" and rest[0].text != "-":
        word = rest.pop(0)
        if not word.is_known:
            raise Unreadable(f"gives {words[0].text} options that are not known")
        if word.text == "--":
            break
        if word.text.startswith("--"):
            name, equals, value = word.text.partition("=")
            if (equals and {f"{name}=", f"{name}=?"} & {*long}) or (not equals and name in long):
                own.append((name, value))
                continue
            if f"{name}=" not in long:
                raise Unreadable(f"gives {words[0].text} the option {name}, which is not read")
            own.append((name, _value(words[0], rest)))
            continue
        letters = word.text[1:]
        while letters and letters[0] in flags:
            own.append((f"-{letters[0]}", ""))
            letters = letters[1:]
        if not letters:
            continue
        if letters[0] not in valued:
            raise Unreadable(f"gives {words[0].text} the option -{letters[0]}, which is not read")
        own.append((f"-{letters[0]}", letters[1:] or _value(words[0], rest)))
    return own, rest


def _value(program: Word, rest: list[Word]) -> str:
    if not rest or not rest[0].is_known:
        raise Unreadable(f"gives {program.text} an option whose value is not known")
    return rest.pop(0).text


def _inner(rest: Sequence[Word]) -> Wrapped | None:
    return Wrapped(commands=(tuple(rest),)) if rest else None


def _env(words: Sequence[Word]) -> Wrapped | None:
    long = ("--ignore-environment", "--null", "--unset=", "--debug")
    _, rest = _split(words, flags="i0v", valued="u", long=long)
    if rest and rest[0].text == "-":
        rest = rest[1:]
    assignments = 0
    for word in rest:
        name, equals, _ = word.text.partition("=")
        if not equals:
            break
        if not word.is_single or not is_harmless_variable(name, word, exported=True):
            raise Unreadable(f"sets {name}")
        assignments += 1
    return _inner(rest[assignments:])


def _timeout(words: Sequence[Word]) -> Wrapped | None:
    long = ("--foreground", "--preserve-status", "--verbose", "--kill-after=", "--signal=")
    _, rest = _split(words, flags="fpv", valued="ks", long=long)
    if rest and not (rest[0].is_known and re.fullmatch(r"[\d.]+[smhd]?", rest[0].text)):
        raise Unreadable("gives timeout a duration that is not known")
    return _inner(rest[1:])


def _time(words: Sequence[Word]) -> Wrapped | None:
    return _inner(_split(words, flags="pv")[1])


def _nohup(words: Sequence[Word]) -> Wrapped | None:
    return _inner(_split(words)[1])


def _setsid(words: Sequence[Word]) -> Wrapped | None:
    return _inner(_split(words, flags="cfw", long=("--ctty", "--fork", "--wait"))[1])


def _nice(words: Sequence[Word]) -> Wrapped | None:
    return _inner(_split(words, flags="0123456789-", valued="n", long=("--adjustment=",))[1])


def _stdbuf(words: Sequence[Word]) -> Wrapped | None:
    long = ("--input=", "--output=", "--error=")
    return _inner(_split(words, valued="ioe", long=long)[1])


def _command(words: Sequence[Word]) -> Wrapped | None:
    own, rest = _split(words, flags="pvV")
    if {"-v", "-V"} & {name for name, _ in own}:
        return None
    return _inner(rest)


def _builtin(words: Sequence[Word]) -> Wrapped | None:
    return _inner(_split(words)[1])


def _exec(words: Sequence[Word]) -> Wrapped | None:
    _, rest = _split(words, flags="cl", valued="a")
    return _inner(rest) or Wrapped()


def _sudo(words: Sequence[Word]) -> Wrapped | None:
    long = ("--non-interactive", "--stdin", "--preserve-env", "--login", "--set-home")
    _, rest = _split(words, flags="nSEHik", valued="ugpU", long=(*long, "--user=", "--group="))
    while rest and "=" in rest[0].text:
        name = rest[0].text.partition("=")[0]
        if not is_harmless_variable(name, rest[0], exported=True):
            raise Unreadable(f"sets {name}")
        rest = rest[1:]
    found = _inner(rest)
    return found and replace(found, is_transparent=False, is_privileged=True)


def _shell(words: Sequence[Word]) -> Wrapped | None:
    """Read ``bash -lc SCRIPT``; ``None`` if the shell gets a file, or its input."""
    rest = list(words[1:])
    has_script = False
    option = ""
    while rest and rest[0].is_known and rest[0].text[:1] in {"-", "+"} and len(rest[0].text) > 1:
        option = rest.pop(0).text
        if option in {"--", "-"}:
            break
        if option in {"--login", "--norc", "--noprofile", "--posix"}:
            continue
        if option.startswith("--") or not re.fullmatch(r"[-+][aefhilmnuvxBCEcp]*o?", option):
            return None
        has_script = has_script or ("c" in option and option[0] == "-")
        if option.endswith("o"):
            if not rest or rest[0].text not in {"pipefail", "errexit", "nounset", "xtrace"}:
                raise Unreadable("gives a shell an option that is not read")
            rest.pop(0)
    if not has_script:
        return None
    if (
        not rest
        or not rest[0].is_known
        or (option not in {"-", "--"} and rest[0].text in {"-", "+"})
    ):
        raise Unreadable(f"gives {words[0].text} commands that are not known")
    return Wrapped(scripts=(rest[0].text,), is_bash=words[0].text in {"bash", "rbash"})


_ADDED = Word("", is_known=False, is_single=False)
"""The arguments that another program adds to a command."""


def _put_in(words: Sequence[Word], replaced: str) -> list[Word]:
    """Return a command with an expansion for the text that another program replaces."""
    return [
        replace(word, text=word.text.replace(replaced, HOLE), is_known=False, bare=0)
        if replaced in word.text
        else word
        for word in words
    ]


def _xargs(words: Sequence[Word]) -> Wrapped | None:
    long = (
        *("--null", "--no-run-if-empty", "--verbose", "--exit", "--max-args=", "--max-procs="),
        *("--delimiter=", "--max-lines=?", "--max-chars=", "--replace=?", "--arg-file="),
    )
    own, rest = _split(words, flags="0rtxo", valued="nPILsdEa", long=long)
    names = {name for name, _ in own}
    replaced = next((text for name, text in reversed(own) if name in {"-I", "--replace"}), None)
    if replaced is None:
        return _inner([*rest, _ADDED]) if rest else None
    if replaced == "":
        raise Unreadable("gives xargs an option that is not read")
    # Some versions forget the replacing for an option that counts, and add the arguments.
    added = [_ADDED] if names & {"-n", "-L", "--max-args", "--max-lines"} else []
    return _inner([*_put_in(rest, replaced), *added]) if rest else None


_UNKNOWN = Wrapped(is_transparent=False, runs_more=True)
_RUNNERS = frozenset(
    {"strace", "ltrace", "script", "su", "runuser", "watch", "parallel", "setpriv", "chroot"}
    | {"unshare", "nsenter", "ssh", "fakeroot", "systemd-run", "dbus-run-session", "screen"}
    | {"tmux", "expect", "unbuffer", "rlwrap", "valgrind", "gdb", "perf", "numactl", "prlimit"}
    | {"pkexec", "bwrap", "proot", "firejail", "setarch", "linux32", "linux64", "at", "batch"}
    | {"entr", "run-parts", "start-stop-daemon", "sg", "runcon", "xvfb-run", "faketime", "chpst"}
    | {"cgexec", "daemonize", "softlimit", "caffeinate", "sem", "capsh", "sshpass", "coreutils"}
)
"""Programs that run others in ways that are not read."""
_OPTIONS_OF_RUNNERS: Final[Mapping[str, tuple[str, str, tuple[str, ...], int]]] = {
    "taskset": ("ac", "", ("--all-tasks", "--cpu-list"), 1),
    "ionice": ("t", "cn", ("--class=", "--classdata=", "--ignore"), 0),
    "chrt": ("abdfiorR", "TPD", ("--batch", "--fifo", "--idle", "--other", "--rr"), 1),
    "flock": (
        *("nsxueoF", "wE"),
        ("--shared", "--exclusive", "--nonblock", "--wait=", "--timeout=", "--close", "--no-fork"),
        1,
    ),
    "busybox": ("", "", (), 0),
    "toybox": ("", "", (), 0),
}
"""Flags, letters with a value, long options, and the operands before the command."""


def _runner(words: Sequence[Word]) -> Wrapped | None:
    """Read a program that runs another one: both are judged."""
    flags, valued, long, count = _OPTIONS_OF_RUNNERS[words[0].text]
    try:
        _, rest = _split(words, flags=flags, valued=valued, long=long)
    except Unreadable:
        return _UNKNOWN
    if not all(word.is_single for word in rest[:count]):
        return _UNKNOWN
    rest = rest[count:]
    if words[0].text == "flock" and rest and rest[0].text in {"-c", "--command"}:
        if len(rest) != 2 or not rest[1].is_known:
            return _UNKNOWN
        return Wrapped(scripts=(rest[1].text,), is_transparent=False)
    if rest and not (rest[0].is_known and rest[0].text[:1] != "-"):
        return _UNKNOWN
    found = _inner(rest)
    return found and replace(found, is_transparent=False)


_FIND_EXEC = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_FIND_ACTIONS = (*_FIND_EXEC, "-delete", "-fprint", "-fprint0", "-fprintf", "-fls")
_FIND_VALUED = frozenset(
    {"-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename", "-lname", "-ilname"}
    | {"-regex", "-iregex", "-newer", "-anewer", "-cnewer", "-mtime", "-atime", "-ctime", "-mmin"}
    | {"-amin", "-cmin", "-size", "-type", "-user", "-group", "-perm", "-maxdepth", "-mindepth"}
)
_FIND_PLAIN = _FIND_EXEC | {
    *("-H", "-L", "-P", "-o", "-or", "-a", "-and", "-not", "-print", "-print0", "-prune", "-ls"),
    *("-depth", "-follow", "-mount", "-xdev", "-empty", "-readable", "-writable", "-executable"),
    *("-true", "-false", "-quit", "-delete", "-daystart"),
}


def _may_be_action(word: Word) -> bool:
    """True for an expansion of which a word may be an action of find."""
    if word.is_known:
        return False
    if HOLE in word.text:
        return not word.is_single or word.text[0] in f"{HOLE}-(!,;+*?["
    is_read = word.text != "" and set(word.text).isdisjoint("{[")
    return not is_read or any(fnmatchcase(one, word.text) for one in _FIND_ACTIONS)


def _find(words: Sequence[Word]) -> Wrapped | None:
    """Read the commands behind ``-exec`` and its siblings."""
    commands: list[tuple[Word, ...]] = []
    is_elsewhere = False
    is_read = True  # each word so far is known to be an option, an action or a value
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if _may_be_action(word):
            raise Unreadable("gives find words that are not known")
        if word.is_known and word.text[:1] == "-":
            is_valued = word.text in _FIND_VALUED
            is_read = is_read and (is_valued or word.text in _FIND_PLAIN)
            if is_valued and is_read and rest and rest[0].is_single:
                if not rest[0].is_known:
                    rest.pop(0)  # its value
                elif rest[0].text[:1] == "-":
                    is_read = False
        if not word.is_known or word.text not in _FIND_EXEC:
            continue
        is_elsewhere = is_elsewhere or word.text.endswith("dir")
        inner: list[Word] = []
        while True:
            if not rest:
                raise Unreadable("has a find whose command does not end")
            is_end = set(rest[0].text) <= set(f"{HOLE};+*?{{}}")
            if not rest[0].is_known and (is_end or not rest[0].is_single):
                raise Unreadable("has a find whose command is not known")
            end = rest.pop(0)
            if end.text == ";" or (end.text == "+" and inner and inner[-1].text == "{}"):
                break
            inner.append(end)
        if not inner:
            raise Unreadable("has a find without a command")
        commands.append(tuple(_put_in(inner, "{}")))
    if not commands:
        return None
    return Wrapped(commands=tuple(commands), is_transparent=False, changes_directory=is_elsewhere)


_READERS: Final[Mapping[str, Callable[[Sequence[Word]], Wrapped | None]]] = {
    "env": _env,
    "timeout": _timeout,
    "gtimeout": _timeout,
    "time": _time,
    "nohup": _nohup,
    "setsid": _setsid,
    "nice": _nice,
    "stdbuf": _stdbuf,
    "command": _command,
    "builtin": _builtin,
    "exec": _exec,
    "sudo": _sudo,
    "doas": _sudo,
    "xargs": _xargs,
    "find": _find,
    **dict.fromkeys(_OPTIONS_OF_RUNNERS, _runner),
    **dict.fromkeys(SHELLS, _shell),
}
