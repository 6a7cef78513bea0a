"""Derive from a secret its *needles*: the byte strings that reveal it.

A secret seldom appears as it was entered. Tool results nest JSON in JSON, URLs quote it, headers
carry it in base64. Each form is one needle; the automaton of `matcher` searches for all of them at
once, so their number costs little.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from agent_swarm_worker.guards.scrubbing.quoting import quoted_forms, to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SECRET_CHARS: Final = 6
"""A shorter value is part of too much ordinary text. An encoding makes a value longer, so this is
the least length of an encoded needle too: base64 cut at its ambiguous edges has 7 or more."""
MIN_LINE_CHARS: Final = 16
"""Least length of one line of a multi-line secret: a short one (``}``, ``fi``) is ordinary text,
except with the line before it, or if it looks random."""
MIN_LEAF_CHARS: Final = 16
"""Least length of one string inside a secret that is a JSON document: ``"oauth"`` is a word."""
MAX_ENCODED_CHARS: Final = 16 * 1024
"""A longer value gets needles as text only; its encodings would fill the automaton."""

MAX_QUOTED_CHARS: Final = 8 * 1024
"""The same for the forms of shells and languages, which are many."""

_PEM_MARK = "-----"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
"""Nothing quotes these characters."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_RANDOM = re.compile(r"(?=.*[0-9+/]|.*=\Z)(?=.*[A-Za-z])[A-Za-z0-9+/_=-]+")
"""No word, so that it is a secret by itself."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{0,30})://([^\s/:@]*):([^\s/]+)@", re.IGNORECASE)
_AUTH_SCHEME = re.compile(r"(?:bearer|basic|token)\s+(\S+)", re.IGNORECASE)
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def needles_of(value: str) -> frozenset[bytes]:
    """Return every byte string that reveals `value`; empty if it is too short to mask.

    A value can hold several secrets: the members of a comma-separated pool, the lines of a key
    file, the strings of a JSON document, the password of a URL, the token after ``Bearer``.
    """
    whole = value.strip()
    document = _json_document(whole)
    needles = set(_all_forms(whole))
    if document is not None:
        for leaf in _strings(document):
            if len(leaf) >= MIN_LEAF_CHARS and "://" not in leaf:
                needles |= needles_of(leaf)
    elif "\n" in whole:
        needles |= _needles_of_lines(whole)
    elif "," in whole:
        for member in whole.split(","):
            needles |= _all_forms(member.strip())
    for password in url_passwords(whole):
        needles |= _all_forms(password)
    if scheme := _AUTH_SCHEME.fullmatch(whole):
        needles |= _all_forms(scheme[1])
    return frozenset(needles)


def url_passwords(value: str) -> Iterator[str]:
    """Yield the passwords of the URLs in `value`, as written and unquoted.

    A password that repeats the user or the scheme (``postgres://postgres:postgres@db``) protects
    nothing, and masking it would take an ordinary word out of every text.
    """
    for scheme, user, password in _URL.findall(value):
        if password.lower() not in {user.lower(), scheme.lower()}:
            yield password
            yield unquote(password)


def _all_forms(text: str) -> set[bytes]:
    if len(text) < MIN_SECRET_CHARS:
        return set()
    # Many programs print a replacement character for invalid UTF-8, and so does the scrubber.
    variants = {text}
    if not text.isascii():
        variants |= {to_bytes(text).decode("utf-8", "replace"), _SURROGATE.sub("\ufffd", text)}
    forms = {to_bytes(form) for variant in variants for form in _text_forms(variant)}
    if len(text) <= MAX_QUOTED_CHARS and not _PLAIN.fullmatch(text):
        for quoted in {form for variant in variants for form in quoted_forms(variant)}:
            once = json.dumps(quoted, ensure_ascii=False)[1:-1]
            twice = json.dumps(once, ensure_ascii=False)[1:-1]
            forms |= {to_bytes(quoted), to_bytes(once), to_bytes(twice)}
    return forms | (_binary_forms(to_bytes(text)) if len(text) <= MAX_ENCODED_CHARS else set())


def _needles_of_lines(whole: str) -> set[bytes]:
    """Return the needles of each line, and of a short one together with the long one before it."""
    is_short = len(whole) <= MAX_ENCODED_CHARS
    lines = [line for line in map(str.strip, whole.splitlines()) if line]
    needles = set()
    for before, line in itertools.pairwise(["", *lines]):
        needles |= _line_forms(line, is_encoded=is_short)
        if len(line) >= MIN_LINE_CHARS or not _is_body(before):
            continue
        if _BASE64.fullmatch(before + line):
            needles.add((before + line).encode())  # found with any line end between them
        needles |= {to_bytes(form) for form in _text_forms(f"{before}\n{line}")}
        if len(line) >= MIN_SECRET_CHARS and _RANDOM.fullmatch(line):
            needles |= _all_forms(line)
    body = [line for line in lines if _is_body(line) or line == lines[-1]]
    body = [line for line in body if not line.startswith(_PEM_MARK)]
    if is_short and len(body) > 1 and _BASE64.fullmatch("".join(body)):
        needles.add("".join(body).encode())  # found with other line ends, too
    return needles


def _is_body(line: str) -> bool:
    return len(line) >= MIN_LINE_CHARS and not line.startswith(_PEM_MARK)


def _line_forms(line: str, *, is_encoded: bool) -> set[bytes]:
    if len(line) < MIN_LINE_CHARS or line.startswith(_PEM_MARK):
        return set()
    if is_encoded:
        return _all_forms(line)
    return {to_bytes(form) for form in _text_forms(line)}


def _text_forms(text: str) -> set[str]:
    """Return the value with the line ends of files, terminals and ``echo``, and as JSON."""
    unix = text.replace("\r\n", "\n")
    raw = {text, unix, unix.replace("\n", "\r\n"), unix.replace("\n", " ")}
    once = {form for variant in raw for form in _json_forms(variant)}
    twice = {
        json.dumps(form, ensure_ascii=ascii_only)[1:-1]
        for form in once
        for ascii_only in (False, True)
    }
    return raw | once | twice


def _json_forms(text: str) -> set[str]:
    """Return the inside of the JSON string as several encoders write it."""
    forms = set()
    for ascii_only in (False, True):
        body = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        forms |= {body, body.replace("/", "\\/"), body.translate(_MARKUP)}
    upper = {
        _UNICODE_ESCAPE.sub(lambda hit: "\\u" + hit[0][2:].upper(), form)
        for form in forms
        if "\\u" in form
    }
    return forms | upper


def _binary_forms(raw: bytes) -> set[bytes]:
    """Return hexadecimal and base64, the latter for all three alignments in a larger blob.

    A value that starts at byte 1 or 2 of a three-byte group shares its first characters with the
    bytes before it, and its last one with the bytes behind it; those characters are left out.
    """
    forms = {raw.hex().encode(), raw.hex().upper().encode()}
    for offset, shared_chars in ((0, 0), (1, 2), (2, 3)):
        own_chars = (offset + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(bytes(offset) + raw)[shared_chars:own_chars])
    return forms


def _json_document(text: str) -> Any:
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(document: Any) -> Iterator[str]:
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
