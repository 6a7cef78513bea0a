"""Find the simple commands of a shell command, also those that run inside other programs.

Programs such as ``env``, ``timeout``, ``xargs`` and ``bash -c`` are looked through: the command
that they run is judged in their place.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent_swarm_worker.guards.permissions.shell_words import (
    MAX_DEPTH,
    Operator,
    Redirection,
    Unreadable,
    Word,
    read_words,
)
from agent_swarm_worker.guards.permissions.wrappers import (
    is_harmless_variable,
    own_effect,
    program_name,
    wrapped_commands,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.guards.permissions.shell_words import Token

MAX_COMMANDS = 1000
MAX_DIRECTORIES = 8
_SKIPPED = frozenset({"!", "{", "}", "if", "then", "else", "elif", "fi", "do", "done"})
_UNREAD = frozenset({"case", "esac", "select", "function", "coproc"})
_RESERVED = _SKIPPED | _UNREAD | {"while", "until", "for", "in", "[[", "]]"}
_DUPLICATE = re.compile(r"\d+-?|-")
_ARITHMETIC = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v", "-R"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleCommand:
    """One program with its arguments."""

    words: tuple[Word, ...]
    """The program first, by its name if it is in one of the system's directories."""
    unreadable: str = ""
    """Why it is not known what it runs; empty if it is."""
    is_outer: bool = False
    """It only runs another command, which is judged in its place; a rule may still deny it."""
    directories: tuple[str, ...] | None = None
    """Those in which it may run; ``None``: unknown."""
    runs_more: bool = False
    """It also runs something that is not read: a rule that denies may fit."""

    def __str__(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWrite:
    """A redirection that writes a file."""

    path: str
    """As in the command; empty if unknown."""
    directories: tuple[str, ...] | None
    """Those that a relative path may start from; ``None``: unknown."""


@dataclass(slots=True)
class ShellLine:
    """What a shell command does."""

    directories: tuple[str, ...] | None
    """The directories in which the next command may run; ``None``: unknown."""
    commands: list[SimpleCommand] = field(default_factory=list)
    writes: list[FileWrite] = field(default_factory=list)


def read_command(command: str | Sequence[str], directories: tuple[str, ...] | None) -> ShellLine:
    """Read a command line, or an argument list; `directories` are those it may start in.

    A command that cannot be read has a single, unreadable simple command.
    """
    line = ShellLine(directories)
    try:
        reader = _LineReader(line)
        if isinstance(command, str):
            reader.read(read_words(command), 0)
        else:
            reader.run([Word(word, bare=0) for word in command], 0)
        why = "" if line.commands or line.writes else "is empty"
    except Unreadable as error:
        why = str(error)
    if not why:
        return line
    shown = command if isinstance(command, str) else " ".join(command)
    whole = SimpleCommand(words=(Word(shown, is_known=False),), unreadable=why)
    return ShellLine(None, [whole])


class _LineReader:
    def __init__(self, line: ShellLine) -> None:
        self._line = line
        self._is_bash = False
        self._has_loop = self._has_moved = False

    def read(self, tokens: Sequence[Token], depth: int) -> None:
        """Add the commands of these tokens."""
        if depth > MAX_DEPTH:
            raise Unreadable("is nested too deeply")
        words: list[Word] = []
        waiting = list(reversed(list(tokens)))
        if not self._is_bash:
            _check_for_any_shell(tokens)
        while waiting:
            token = waiting.pop()
            if isinstance(token, Word):
                self._substitutions(token, depth)
                if words:
                    words.append(token)
                elif token.is_bare and token.text in {"while", "until"}:
                    self._has_loop = True
                elif token.is_bare and token.text == "for":
                    self._loop(waiting, depth)
                elif token.is_bare and token.text == "[[":
                    self._condition(waiting, depth)
                elif token.is_bare and token.text in _UNREAD:
                    raise Unreadable(f"has {token.text}, which is not read")
                elif not (token.is_bare and token.text in _SKIPPED):
                    words.append(token)
            elif isinstance(token, Redirection):
                self._substitutions(token.target, depth)
                self._redirect(token)
                following = waiting[-1] if waiting else None
                if not words and isinstance(following, Word):
                    # At the beginning of a command, but no reserved word.
                    words = [following]
                    waiting.pop()
                    self._substitutions(following, depth)
            else:
                self._operator(token, words)
                self.run(words, depth)
                words = []
        self.run(words, depth)
        if self._has_loop and self._has_moved:
            raise Unreadable("changes its directory and has a loop")

    def _operator(self, token: Operator, words: list[Word]) -> None:
        if token.text in {";;", ";&"} or (token.text == "(" and words):
            raise Unreadable(f"has {token.text} at a place where it is not read")

    def _substitutions(self, word: Word, depth: int) -> None:
        for tokens in word.nested:
            self.read(tokens, depth + 1)

    def _loop(self, waiting: list[Token], depth: int) -> None:
        """Read the head of a ``for`` loop."""
        self._has_loop = True
        name = waiting.pop() if waiting else None
        if not isinstance(name, Word) or not re.fullmatch(r"[A-Za-z_]\w*", name.text):
            raise Unreadable("has a loop that is not read")
        _check_variable(name.text)
        values = [Word("for")]
        while waiting and isinstance(waiting[-1], Word) and waiting[-1].text != "do":
            word = waiting.pop()
            assert isinstance(word, Word)
            self._substitutions(word, depth)
            values.append(word)
        self._add(SimpleCommand(words=tuple(values), is_outer=True))

    def _condition(self, waiting: list[Token], depth: int) -> None:
        """Read ``[[ … ]]``."""
        words = [Word("[[")]
        while True:
            token = waiting.pop() if waiting else None
            if isinstance(token, Redirection | Operator) and not self._is_bash:
                raise Unreadable("has an operator in [[, which not every shell reads")
            if isinstance(token, Redirection) and token.operator in {"<", ">"}:
                token = token.target
            if token is None or (isinstance(token, Operator) and token.text not in {"&&", "||"}):
                raise Unreadable("has a condition that is not read")
            if isinstance(token, Word):
                self._substitutions(token, depth)
                words.append(token)
                if token.is_bare and token.text == "]]":
                    break
        is_arithmetic = any(word.text in _ARITHMETIC for word in words)
        why = "evaluates arithmetic" if is_arithmetic else own_effect(words)
        self._add(SimpleCommand(words=tuple(words), unreadable=why))

    def _redirect(self, redirection: Redirection) -> None:
        operator, target = redirection.operator, redirection.target
        if operator in {"<<", "<<<"}:
            return
        is_copy = operator in {">&", "<&"}
        if is_copy and target.is_known and _DUPLICATE.fullmatch(target.text):
            return
        if target.text.startswith(("/dev/tcp/", "/dev/udp/")):
            raise Unreadable("opens a network connection")
        if operator in {"<", "<&"}:
            if not target.is_known:
                raise Unreadable("reads from a path that is not known")
            self._add(SimpleCommand(words=(Word("<"), target), is_outer=True))
        elif not target.is_known or target.text != "/dev/null":
            # /dev/fd/3 opens the file behind it again
            path, directories = (
                ("", None) if not target.is_known else (target.text, self._line.directories)
            )
            self._check_count()
            self._line.writes.append(FileWrite(path=path, directories=directories))

    # --- simple commands
    def run(self, words: Sequence[Word], depth: int, *, directory_is_known: bool = True) -> None:
        """Add a simple command, with assignments before it, and what it runs."""
        if depth > MAX_DEPTH:
            raise Unreadable("is nested too deeply")
        count = next((n for n, word in enumerate(words) if not word.assigned), len(words))
        why = ""
        for word in words[:count]:
            appends = word.text[len(word.assigned)] == "+"
            is_read = self._is_bash or not appends  # dash runs a program of that name
            is_harmless = is_harmless_variable(word.assigned, word, exported=count < len(words))
            if not (is_read and is_harmless):
                why = f"sets {word.assigned}"
        if not words[count:]:
            if why:
                self._add(SimpleCommand(words=tuple(words), unreadable=why))
            elif words:
                self._add(SimpleCommand(words=tuple(words), is_outer=True))
            return
        command = self._named(words[count:], directory_is_known=directory_is_known)
        command = replace(command, unreadable=command.unreadable or why)
        wrapped = wrapped_commands(command.words)
        if wrapped is None:
            effect = own_effect(command.words)
            self._add(replace(command, unreadable=command.unreadable or effect))
            self._change_directory(command.words)
            return
        is_outer = wrapped.is_transparent and not command.unreadable
        self._add(replace(command, is_outer=is_outer, runs_more=wrapped.runs_more))
        outer, self._is_bash = self._is_bash, wrapped.is_bash
        for script in wrapped.scripts:
            self.read(read_words(script, is_bash=wrapped.is_bash), depth + 1)
        self._is_bash = outer
        for inner in wrapped.commands:
            known = directory_is_known and not wrapped.changes_directory
            before = len(self._line.commands)
            self.run(inner, depth + 1, directory_is_known=known)
            if wrapped.is_privileged:
                self._judge_with(before)

    def _judge_with(self, count: int) -> None:
        """Have the commands from here on judged by the one before them."""
        added = self._line.commands[count:]
        why = next((one.unreadable for one in added if one.unreadable), "")
        outer = self._line.commands[count - 1]
        outer = replace(outer, unreadable=outer.unreadable or why)
        inner = [replace(one, is_outer=True) for one in added]
        self._line.commands[count - 1 :] = [outer, *inner]

    def _named(self, words: Sequence[Word], *, directory_is_known: bool) -> SimpleCommand:
        program = words[0]
        name = program_name(program.text)
        why = "" if program.is_known and name else "runs a program that is not known"
        if name in _RESERVED:  # behind `time` it is one
            why = f"has {name} at a place where it is not read"
        directories = self._line.directories if directory_is_known else None
        is_relative = "/" in name and not name.startswith("/")
        if is_relative and (directories is None or len(directories) > 1):
            why = why or f"runs {name} in a directory that is not known"
        named = (replace(program, text=name), *words[1:])
        return SimpleCommand(words=named, unreadable=why, directories=directories)

    def _add(self, command: SimpleCommand) -> None:
        self._check_count()
        self._line.commands.append(command)

    def _check_count(self) -> None:
        if len(self._line.commands) + len(self._line.writes) >= MAX_COMMANDS:
            raise Unreadable(f"has more than {MAX_COMMANDS} commands and redirections")

    def _change_directory(self, words: Sequence[Word]) -> None:
        """After ``cd`` the directory is the old one or the new one: it may have failed."""
        if words[0].text not in {"cd", "pushd", "popd", "chdir"}:
            return
        self._has_moved = True
        targets = [word for word in words[1:] if word.text != "--"]
        before = self._line.directories
        is_read = len(targets) == 1 and targets[0].is_known and words[0].text in {"cd", "pushd"}
        target = targets[0].text if is_read else ""
        if before is None or not target or target[0] in "-+" or ".." in target.split("/"):
            self._line.directories = None
            return
        after = dict.fromkeys((*before, *(posixpath.join(one, target) for one in before)))
        self._line.directories = tuple(after) if len(after) <= MAX_DIRECTORIES else None


def _check_for_any_shell(tokens: Sequence[Token]) -> None:
    """Refuse what dash or zsh reads in another way than bash."""
    is_cut = is_command = False
    for token in tokens:
        if isinstance(token, Operator):
            is_cut = is_command = False
        elif isinstance(token, Redirection):
            is_cut = is_cut or token.operator.startswith("&>")  # dash: & and >
            if token.target.text.startswith("!"):
                raise Unreadable("has a redirection to !, which not every shell reads")
        elif is_cut or (is_command and token.is_bare and token.text in {"{", "}"}):
            raise Unreadable(f"has {token.text} at a place where not every shell reads it")
        else:
            is_command = is_command or token.text not in _SKIPPED


def _check_variable(name: str) -> None:
    if not is_harmless_variable(name, Word(""), exported=False):
        raise Unreadable(f"sets {name}")
