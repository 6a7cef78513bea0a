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
_PROCESS_LINKS = frozenset({"cwd", "root", "fd", "exe", "map_files"})
MAX_ALTERNATIVES = 64
MAX_GLOB_CHARS = 500


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

    @property
    def is_doubtful(self) -> bool:
        """True if it leads through files that a process has open, or its directories."""
        parts = [part for part in self.given.split("/") if part not in {"", "."}]
        behind = set(parts[parts.index("proc") :]) if "proc" in parts else set()
        has_wildcard = any(set(part) & set("*?[{") for part in behind)
        is_device = re.search(r"(?:^|/)dev/[/.]*(?:fd|std)", self.given) is not None
        return is_device or has_wildcard or not behind.isdisjoint(_PROCESS_LINKS)


def is_path_allowed(path: CallPath, pattern: str) -> bool:
    """True if the real path matches; a pattern without wildcards also allows what is below it."""
    if not path.real:
        return False
    relative = _below(path.real, path.base)
    return _matches(path.real, relative, pattern, with_parents=_is_literal(pattern))


def may_be_path(path: CallPath, pattern: str) -> bool:
    """True if the path, or a directory above it, matches with or without its links resolved."""
    if path.is_doubtful:
        return True
    for absolute, base in ((path.given, path.given_base), (path.real, path.base)):
        if absolute and _matches(absolute, _below(absolute, base), pattern, with_parents=True):
            return True
    return False


def may_meet(path: CallPath, pattern: str, *, below: bool) -> bool:
    """True if `path` as a shell pattern may name a file that matches, or with `below` one in it."""
    if may_be_path(path, pattern):
        return True
    cleaned = pattern.removeprefix("./").rstrip("/")
    for glob, base in ((path.given, path.given_base), (path.real, path.base)):
        other = cleaned if pattern.startswith("/") else f"{normpath(base)}/{cleaned}"
        names = (other, f"{other}/**") if below else (other,)
        if glob and any(_meet(normpath(glob), name) for name in names):
            return True
    return False


def alternatives(glob: str) -> list[str] | None:
    """Return a pattern with its braces expanded; ``None`` if those are too many."""
    waiting, found = [glob], []
    while waiting:
        one = waiting.pop()
        braces = re.search(r"\{([^{}]*)\}", one)
        if braces is None:
            found.append(one)
        elif ".." in braces[1] or len(found) + len(waiting) > MAX_ALTERNATIVES:
            return None
        else:
            begin, end = one[: braces.start()], one[braces.end() :]
            waiting += [begin + part + end for part in braces[1].split(",")]
    return found


@lru_cache(maxsize=2048)
def _meet(glob: str, pattern: str) -> bool:
    """True if two patterns have a path in common; ``*`` of `glob` takes no leading dot."""
    if max(len(glob), len(pattern)) > MAX_GLOB_CHARS:
        return True
    one = re.findall(r"\*\*+|\[[!^]?[^]/]+\]|.", glob, re.DOTALL)
    other = re.findall(r"\*\*+/?|\[[!^]?[^]/]+\]|.", pattern, re.DOTALL)
    seen, waiting = set(), [(0, 0)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        first, second = place
        if place == (len(one), len(other)):
            return True
        left = one[first] if first < len(one) else ""
        right = other[second] if second < len(other) else ""
        if left[:1] == "*":
            waiting.append((first + 1, second))
        if right[:1] == "*":
            waiting.append((first, second + 1))
        if not left or not right:
            continue
        is_start = first > 0 and one[first - 1] == "/"
        is_hidden = right == "." and is_start and left in {"*", "?"}
        if left[0] == "*" and right[0] != "*" and (left != "*" or right != "/") and not is_hidden:
            waiting.append((first, second + 1))
        if right[0] == "*" and left[0] != "*" and (right != "*" or left != "/"):
            waiting.append((first + 1, second))
        is_same = left == right or (left[0] in "?[" and right != "/" and not is_hidden)
        if "*" not in {left[0], right[0]} and (is_same or (right[0] in "?[" and left != "/")):
            waiting.append((first + 1, second + 1))
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
