"""Match paths and host names against the patterns of rules."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from functools import lru_cache
from posixpath import normpath
from urllib.parse import urlsplit

FILE_ACTIONS = frozenset({"read", "edit", "write", "search", "find-files", "list-directory"})
"""Actions that are about files."""


@dataclass(frozen=True, slots=True)
class CallPath:
    """A path that a call names."""

    given: str
    """As in the call, made absolute; its links are not resolved."""
    real: str
    """With all links resolved; empty if unknown."""
    base: str
    """The session's directory, with its links resolved."""
    given_base: str

    @property
    def is_inside(self) -> bool:
        """True if it is in the session's directory."""
        return self.real != "" and _below(self.real, self.base) is not None


def is_path_allowed(path: CallPath, pattern: str) -> bool:
    """True if the real path matches; a pattern without wildcards also allows what is below it."""
    if not path.real:
        return False
    relative = _below(path.real, path.base)
    return _matches(path.real, relative, pattern, with_parents=_is_literal(pattern))


def may_be_path(path: CallPath, pattern: str) -> bool:
    """True if the path, or a directory above it, matches with or without its links resolved."""
    for absolute, base in ((path.given, path.given_base), (path.real, path.base)):
        if absolute and _matches(absolute, _below(absolute, base), pattern, with_parents=True):
            return True
    return False


def _is_literal(pattern: str) -> bool:
    return pattern.endswith("/") or not set(pattern) & set("*?[")


def _below(path: str, base: str) -> str | None:
    """Return a path relative to a directory; ``None`` if it is not below it."""
    path, base = normpath(path), normpath(base)
    if path == base:
        return "."
    prefix = base.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _matches(absolute: str, relative: str | None, pattern: str, *, with_parents: bool) -> bool:
    subject = normpath(absolute) if pattern.startswith("/") else relative
    if subject is None:
        return False
    cleaned = pattern.removeprefix("./").rstrip("/") or ("." if pattern[0] != "/" else "/")
    if cleaned in {"**", "."}:
        return True
    expression = _expression(cleaned)
    if expression.fullmatch(subject):
        return True
    while with_parents and "/" in subject.lstrip("/"):
        subject = subject.rpartition("/")[0]
        if expression.fullmatch(subject):
            return True
    return with_parents and cleaned == "/"


def check_pattern(pattern: str) -> None:
    """Raise `ValueError` if a pattern cannot be used."""
    try:
        _expression(pattern)
    except re.error as error:
        msg = f"{pattern!r} is no pattern: {error}"
        raise ValueError(msg) from None


@lru_cache(maxsize=2048)
def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a pattern: ``**`` matches any number of levels, ``*`` and ``?`` no slash."""
    parts = []
    for part in re.findall(r"/\*\*$|\*\*/|\*\*|\*|\?|\[[!^]?[^]/]+\]|.", pattern, re.DOTALL):
        match part:
            case "**/":
                parts.append("(?:.*/)?")
            case "/**":
                parts.append("(?:/.*)?")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if part[0] == "[" and len(part) > 1:
                inner = part[1:-1].replace("\\", "\\\\")
                parts.append(f"[^/{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            case _:
                parts.append(re.escape(part))
    return re.compile("".join(parts), re.DOTALL)


def host_of(address: str) -> str:
    """Return the host of an address in lower case; empty if there is none for sure."""
    if re.search(r"[\s\\\x00-\x1f]", address):
        return ""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host = parts.hostname or ""
    except ValueError:
        return ""
    return host.rstrip(".").lower()


def matches_host(host: str, pattern: str) -> bool:
    """True if a host name matches a pattern; ``*.example.com`` does not match ``example.com``."""
    return bool(host) and fnmatch.fnmatchcase(host, pattern.lower().rstrip("."))
