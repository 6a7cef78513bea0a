"""How secrets get written down, spelt out with other means than the scrubber's own.

`forms` are the promises of docs/secrets.md, one encoder each. `spellings` are the ways in which a
JSON document may hold a text. Nothing here asks the code under test what it looks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

ALPHABETS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
)
PLACEHOLDER = re.compile(rb"\[REDACTED:[A-Za-z0-9_.:-]*\]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_SHORT = {
    '"': '"',
    "\\": "\\",
    "\n": "n",
    "\r": "r",
    "\t": "t",
    "\a": "a",
    "\b": "b",
    "\f": "f",
    "\v": "v",
}


def forms(secret: str) -> dict[str, bytes]:
    """Every promised form of a value, by the name of the promise."""
    raw = secret.encode("utf-8", "surrogateescape")
    once = {
        "json": json.dumps(secret)[1:-1],
        "json, unicode kept": json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    twice = {f"{name} twice": json.dumps(text)[1:-1] for name, text in once.items()}
    texts = {
        **once,
        **twice,
        "python": repr(secret)[1:-1],
        "quoted by Go": "".join(_go(char) for char in secret),
        "quoted by git": "".join(_c(byte) for byte in raw),
        "url": quote(raw, safe=""),
        "url, path": quote(raw),
        "form": quote_plus(raw),
        "html": "".join(_HTML.get(c, c) for c in secret),
    }
    return {
        "raw": raw,
        "hex": "".join(f"{byte:02x}" for byte in raw).encode(),
        "HEX": "".join(f"{byte:02X}" for byte in raw).encode(),
        **{name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()},
        **{f"base64 {n} at {shift}": core for (n, shift), core in _base64_cores(raw).items()},
    }


def values_in(secret: str) -> list[str]:
    """The parts of a value that are secrets of their own: members of a pool, lines of a key."""
    if "\n" in secret:
        return [secret, *(line for line in secret.split("\n") if len(line) >= 16)]
    return [secret, *(part for part in secret.split(",") if len(part) >= 6)]


def hidden(needles: Iterable[bytes], data: bytes) -> list[bool]:
    """Which bytes of `data` lie in a needle; every place is tried for every needle."""
    marks = [False] * len(data)
    for needle in needles:
        for start in range(len(data) - len(needle) + 1):
            if data[start : start + len(needle)] == needle:
                marks[start : start + len(needle)] = [True] * len(needle)
    return marks


def what_is_left(clean: bytes) -> list[bytes]:
    """The bytes between the placeholders."""
    return PLACEHOLDER.split(clean)


def every_level(text: str, depth: int = 5) -> list[str]:
    """A text, and what it says if it is JSON, and what that says if it is JSON, …"""
    found, pending = [text], [(text, depth)]
    while pending:
        text, left = pending.pop()
        try:
            value = json.loads(text)
        except ValueError:
            continue
        for string in _strings(value):
            found.append(string)
            if left:
                pending.append((string, left - 1))
    return found


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (str(k), *_strings(v))]
    if isinstance(value, list):
        return [s for child in value for s in _strings(child)]
    return [str(value)]


def _go(char: str) -> str:
    if char in _SHORT:
        return f"\\{_SHORT[char]}"
    if char.isprintable():
        return char
    if 0xDC80 <= ord(char) <= 0xDCFF:  # a byte that is not UTF-8, as Python keeps it
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isascii():
        return f"\\x{ord(char):02x}"
    return f"\\u{ord(char):04x}" if char <= "\uffff" else f"\\U{ord(char):08x}"


def _c(byte: int) -> str:
    char = chr(byte)
    if char in _SHORT:
        return f"\\{_SHORT[char]}"
    return char if " " <= char <= "~" else f"\\{byte:03o}"


def _base64_cores(raw: bytes) -> dict[tuple[int, int], bytes]:
    """The characters of base64 that say nothing but this value, for each place in a group."""
    bits = "".join(f"{byte:08b}" for byte in raw)
    cores = {}
    for number, alphabet in enumerate(ALPHABETS):
        for shift in range(3):
            skip = -8 * shift % 6  # bits of the value that share a character with what is before
            own = bits[skip : skip + (len(bits) - skip) // 6 * 6]
            sextets = [int(own[at : at + 6], 2) for at in range(0, len(own), 6)]
            cores[number, shift] = "".join(alphabet[value] for value in sextets).encode()
    return cores
