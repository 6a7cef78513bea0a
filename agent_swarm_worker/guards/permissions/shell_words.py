"""Split a shell command into words, operators and redirections, as bash and other shells do.

Nothing is expanded: a word with an expansion is *unknown*, and the commands of its substitutions
are kept beside it. Constructs that are not read (arrays, arithmetic, process substitution, extended
patterns) raise `Unreadable`; so the reader may refuse a valid command, but takes none for another.
What bash reads in another way than dash, or zsh, is read only if it is known that bash runs it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

MAX_CHARS = 65_536
MAX_DEPTH = 16
HOLE = "\ufffc"
"""Stands in the text of a word for an expansion."""
_OPERATORS = ("&&", "||", "|&", ";;", ";&", ";", "&", "|", "\n", "(", ")")
_REDIRECTIONS = (*("&>>", "<<<", "<<-", "&>", ">>", ">|", ">&", "<>", "<&", "<<", ">", "<"),)
_JOINED_OPERATOR = re.compile(r"(?:\\\n)+[;&|<>()-]")
_ENDS_WORD = frozenset(" \t\n;&|<>()")
_WILDCARDS = frozenset("*?[")
_ESCAPES = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r"}
_ESCAPES |= {"t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?"}
_CODE = re.compile(r"x[0-9a-fA-F]{1,2}|[0-7]{1,3}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,8}")
_PLAIN_PARAMETER = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!_-]", re.ASCII)
_BRACED_PARAMETER = re.compile(
    r"\{#?(?:[A-Za-z_]\w*|[0-9@*#?]+)(?:(?::?[-+]|##?|%%?)[\w./*,=:+-]*)?\}", re.ASCII
)
_DESCRIPTOR = re.compile(r"\{\w+\}")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=", re.ASCII)


class Unreadable(ValueError):
    """The command cannot be read for sure; the message completes "the shell command …"."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word; quotes are removed."""

    text: str
    is_known: bool = True
    """It has no expansion: the program gets exactly `text`."""
    is_single: bool = True
    """It is one word also after its expansions."""
    bare: int = 0
    """How many characters at its beginning are neither quoted nor expanded."""
    nested: tuple[tuple[Token, ...], ...] = ()
    """The commands of its substitutions."""

    @property
    def is_bare(self) -> bool:
        """True without any quotes, as a reserved word has to be."""
        return self.is_known and self.bare == len(self.text)

    @property
    def assigned(self) -> str:
        """The variable, if the word is an assignment at the beginning of a command."""
        found = _ASSIGNMENT.match(self.text[: self.bare])
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Operator:
    """Separates commands, or opens or closes a group."""

    text: str


@dataclass(frozen=True, slots=True)
class Redirection:
    """A redirection; the target of a here-document is its body."""

    operator: str
    target: Word


Token: TypeAlias = Word | Operator | Redirection


def read_words(text: str, *, is_bash: bool = False) -> tuple[Token, ...]:
    """Return the tokens of a command, which bash runs if `is_bash`; raises `Unreadable`."""
    if len(text) > MAX_CHARS:
        raise Unreadable(f"is longer than {MAX_CHARS:,} characters")
    if found := re.search(r"[\x00-\x08\x0b-\x1f\x7f\ufffc]", text):
        raise Unreadable(f"has the control character {found[0]!r}")
    return _Reader(text, 0, is_bash=is_bash).tokens(nested=False)


@dataclass(frozen=True, slots=True)
class _HereDocument:
    tokens: list[Token]
    place: int
    """Of its redirection among the tokens."""
    begin: int
    delimiter: str
    strips_tabs: bool
    is_quoted: bool


class _Reader:
    def __init__(self, text: str, depth: int, *, is_bash: bool) -> None:
        if depth > MAX_DEPTH:
            raise Unreadable("is nested too deeply")
        self._text, self._at, self._depth, self._is_bash = text, 0, depth, is_bash
        self._bodies: list[_HereDocument] = []
        """Here-documents whose bodies come after the line."""

    def tokens(self, *, nested: bool) -> tuple[Token, ...]:
        """Read to the end, or if `nested` behind the parenthesis that ends a substitution."""
        found: list[Token] = []
        groups = 0
        while True:
            self._skip_blanks()
            if self._at >= len(self._text):
                if nested:
                    raise Unreadable("has a substitution without an end")
                if groups:
                    raise Unreadable("has a parenthesis without an end")
                if self._bodies:
                    self._read_bodies()
                return tuple(found)
            if self._follows("(("):
                raise Unreadable("has arithmetic")
            if redirection := self._redirection(found):
                found.append(redirection)
                continue
            operator = next((op for op in _OPERATORS if self._follows(op)), "")
            if not operator:
                if (word := self._word()) is not None:
                    found.append(word)
                continue
            self._at += len(operator)
            if operator == "\n":
                self._read_bodies()
            else:
                self._check_joined()
            groups += (operator == "(") - (operator == ")")
            if groups < 0 and nested:
                if self._bodies:
                    raise Unreadable("has a here-document without a body")
                return tuple(found)
            if groups < 0:
                raise Unreadable("has a parenthesis without a beginning")
            found.append(Operator(operator))

    def _follows(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _check_joined(self) -> None:
        """Refuse an operator that goes on behind a line end, which bash removes first."""
        if _JOINED_OPERATOR.match(self._text, self._at):
            raise Unreadable("has an operator on two lines")

    def _skip_blanks(self) -> None:
        while self._at < len(self._text):
            if self._follows("\\\n"):
                self._at += 2
            elif self._text[self._at] in " \t":
                self._at += 1
            elif self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                return

    # --- redirections
    def _redirection(self, found: list[Token]) -> Redirection | None:
        operator = next((op for op in _REDIRECTIONS if self._follows(op)), "")
        if not operator:
            return None
        self._at += len(operator)
        self._check_joined()
        if operator in {"<", ">"} and self._follows("("):
            raise Unreadable("has a process substitution")
        self._skip_blanks()
        target = self._word() if self._at < len(self._text) else None
        if target is None or not target.is_single:
            raise Unreadable(f"has no single target behind {operator}")
        if operator in {"<<", "<<-"}:
            if not target.is_known or "\n" in target.text:
                raise Unreadable("has a here-document whose delimiter is not read")
            tabs, is_quoted = operator == "<<-", not target.is_bare
            place = _HereDocument(found, len(found), self._at, target.text, tabs, is_quoted)
            self._bodies.append(place)
            return Redirection("<<", Word(""))
        return Redirection(operator, target)

    def _read_bodies(self) -> None:
        for document in self._bodies:
            if "\n" in self._text[document.begin : self._at - 1] and document is self._bodies[0]:
                raise Unreadable("has a here-document whose line has several lines")
            lines = []
            while self._at < len(self._text):
                end = self._text.find("\n", self._at)
                end = len(self._text) if end < 0 else end
                line = self._text[self._at : end]
                self._at = min(end + 1, len(self._text))
                if (line.lstrip("\t") if document.strips_tabs else line) == document.delimiter:
                    break
                if line.endswith("\\") and not document.is_quoted:
                    raise Unreadable("has a here-document with joined lines")
                lines.append(line)
            if not document.is_quoted:
                body = _Word()
                reader = _Reader("\n".join(lines), self._depth + 1, is_bash=self._is_bash)
                reader.here_document(body)
                document.tokens[document.place] = Redirection("<<", body.finish())
        self._bodies = []

    def here_document(self, word: _Word) -> None:
        """Read the body of a here-document, in which substitutions run."""
        while self._at < len(self._text):
            self._quoted_character(word, escapable="$`\\\n")

    # --- words
    def _word(self) -> Word | None:
        """Read a word; ``None`` for one that is the descriptor number of a redirection."""
        word = _Word()
        begin = self._at
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in _ENDS_WORD:
                if character == "(" and self._at > begin:
                    raise Unreadable("has a function, an array or an extended pattern")
                break
            self._at += 1
            match character:
                case "\\":
                    if self._follows("\n"):
                        self._at += 1
                    elif self._at >= len(self._text):
                        raise Unreadable("ends with a backslash")
                    else:
                        word.add(self._text[self._at], "q")
                        self._at += 1
                case "'":
                    end = self._text.find("'", self._at)
                    if end < 0:
                        raise Unreadable("has a quote without an end")
                    word.add_quoted(self._text[self._at : end])
                    self._at = end + 1
                case '"':
                    self._double_quoted(word)
                case "`":
                    self._backticks(word, is_quoted=False)
                case "$":
                    self._expansion(word, is_quoted=False)
                case _:
                    word.add(character, character)
        if self._at == begin:
            return None
        if self._text[self._at : self._at + 1] in {"<", ">"} and _DESCRIPTOR.fullmatch(word.mask):
            raise Unreadable("sets a variable to a descriptor")
        is_number = word.mask.isdigit() and self._at < len(self._text)
        if is_number and self._text[self._at] in "<>":
            return None
        return word.finish()

    def _double_quoted(self, word: _Word) -> None:
        word.add_quoted("")
        while not self._follows('"'):
            if self._at >= len(self._text):
                raise Unreadable("has a quote without an end")
            self._quoted_character(word, escapable='$`"\\\n')
        self._at += 1

    def _quoted_character(self, word: _Word, *, escapable: str) -> None:
        character = self._text[self._at]
        self._at += 1
        following = self._text[self._at : self._at + 1]
        if character == "\\" and following and following in escapable:
            self._at += 1
            if following != "\n":
                word.add_quoted(following)
        elif character == "$":
            self._expansion(word, is_quoted=True)
        elif character == "`":
            self._backticks(word, is_quoted=True)
        else:
            word.add_quoted(character)

    def _expansion(self, word: _Word, *, is_quoted: bool) -> None:
        """Read what follows a dollar sign."""
        if not (is_quoted or self._is_bash) and self._text[self._at : self._at + 1] in {"'", '"'}:
            raise Unreadable("has a quote behind $, which not every shell reads")
        if self._follows("'") and not is_quoted:
            self._at += 1
            self._ansi_quoted(word)
        elif self._follows('"') and not is_quoted:
            self._at += 1
            self._double_quoted(word)
        elif self._follows("((") or self._follows("["):
            raise Unreadable("has arithmetic")
        elif self._follows("\\\n"):
            raise Unreadable("has an expansion on two lines")
        elif self._follows("("):
            self._at += 1
            self._check_joined()
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise Unreadable("is nested too deeply")
            outer, self._bodies = self._bodies, []
            word.nested.append(self.tokens(nested=True))
            self._bodies = outer
            self._depth -= 1
            word.expand(is_single=is_quoted)
        elif self._follows("{"):
            found = _BRACED_PARAMETER.match(self._text, self._at)
            if found is None:
                raise Unreadable("has a parameter expansion that is not read")
            self._at = found.end()
            word.expand(is_single=is_quoted and "@" not in found[0])
        elif found := _PLAIN_PARAMETER.match(self._text, self._at):
            self._at = found.end()
            if self._follows("[") and not self._is_bash:
                raise Unreadable("has [ behind a variable, which not every shell reads")
            word.expand(is_single=is_quoted and found[0] != "@")
        else:
            word.add("$", "q")

    def _backticks(self, word: _Word, *, is_quoted: bool) -> None:
        inner = []
        while not self._follows("`"):
            if self._at >= len(self._text):
                raise Unreadable("has a substitution without an end")
            escapable = '\\`$"' if is_quoted else "\\`$"
            following = self._text[self._at + 1 : self._at + 2]
            if self._text[self._at] == "\\" and following and following in escapable:
                self._at += 1
            inner.append(self._text[self._at])
            self._at += 1
        self._at += 1
        reader = _Reader("".join(inner), self._depth + 1, is_bash=self._is_bash)
        word.nested.append(reader.tokens(nested=False))
        word.expand(is_single=is_quoted)

    def _ansi_quoted(self, word: _Word) -> None:
        r"""Read ``$'…'``, in which ``\n`` is a line end."""
        word.add_quoted("")
        while not self._follows("'"):
            if self._at >= len(self._text):
                raise Unreadable("has a quote without an end")
            character = self._text[self._at]
            self._at += 1
            if character != "\\" or self._at >= len(self._text):
                word.add_quoted(character)
            elif found := _CODE.match(self._text, self._at):
                self._at = found.end()
                digits = found[0].lstrip("xuU")
                code = int(digits, 8 if found[0] == digits else 16)
                if not 0 < code < (0x80 if found[0][0] not in "uU" else 0xD800):
                    raise Unreadable("has a character by its number that is not read")
                word.add_quoted(chr(code))
            else:
                following = self._text[self._at]
                if following not in _ESCAPES:
                    raise Unreadable("has an escape sequence that is not read")
                word.add_quoted(_ESCAPES[following])
                self._at += 1
        self._at += 1


class _Word:
    """A word that is being read."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._mask: list[str] = []
        self._is_known = self._is_single = True
        self.nested: list[tuple[Token, ...]] = []

    @property
    def mask(self) -> str:
        """The word with ``q`` for each quoted character, and at the place of empty quotes."""
        return "".join(self._mask)

    def add(self, text: str, mask: str) -> None:
        self._parts.append(text)
        self._mask.append(mask)

    def add_quoted(self, text: str) -> None:
        self.add(text, "q" * max(len(text), 1))

    def expand(self, *, is_single: bool) -> None:
        """Take an expansion."""
        self._is_known = False
        self._is_single = self._is_single and is_single
        self.add(HOLE, "q")

    def finish(self) -> Word:
        text = "".join(self._parts)
        bare = 0
        for part, mask in zip(self._parts, self._mask, strict=True):
            if part != mask:
                break
            bare += len(part)
        unquoted = self.mask
        has_braces = "{" in unquoted and ("," in unquoted or ".." in unquoted)
        is_bracket = unquoted in {"[", "[["}  # the program, or a pattern that matches itself
        has_many = has_braces or not (is_bracket or _WILDCARDS.isdisjoint(unquoted))
        return Word(
            text,
            is_known=self._is_known and not has_many and not unquoted.startswith("~"),
            is_single=self._is_single and not has_many,
            bare=bare,
            nested=tuple(self.nested),
        )
