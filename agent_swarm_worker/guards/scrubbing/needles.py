"""Derive from a secret its *needles*: the byte strings that reveal it.

A secret seldom appears as it was entered. Tool results nest JSON in JSON, URLs quote it, headers
carry it in base64. Each form is one needle; the automaton of `matcher` searches for all of them at
once, so their number costs little.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SECRET_CHARS: Final = 6
"""A shorter value is part of too much ordinary text. An encoding makes a value longer, so this is
the least length of an encoded needle too: base64 cut at its ambiguous edges has 7 or more."""
MIN_LINE_CHARS: Final = 16
"""Least length of one line of a multi-line secret: a short one (``}``, ``fi``) is ordinary text."""
MIN_LEAF_CHARS: Final = 16
"""Least length of one string inside a secret that is a JSON document: ``"oauth"`` is a word."""
MAX_ENCODED_CHARS: Final = 16 * 1024
"""A longer value gets needles as text only; its encodings would fill the automaton."""

_PEM_MARK = "-----"
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{0,30})://([^\s/:@]*):([^\s/]+)@", re.IGNORECASE)
_AUTH_SCHEME = re.compile(r"(?:bearer|basic|token)\s+(\S+)", re.IGNORECASE)
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_PERCENT_ESCAPE = re.compile(r"%[0-9A-F]{2}")
_C_SHORT = dict(zip('"\\\a\b\f\n\r\t\v', '"\\abfnrtv', strict=True))
_C_ESCAPES = {
    **{byte: f"\\{byte:03o}" for byte in (*range(32), *range(127, 256))},
    **{ord(char): f"\\{letter}" for char, letter in _C_SHORT.items()},
}
_ESCAPED_BYTES = range(0xDC80, 0xDD00)
"""The surrogates by which Python represents bytes that are not UTF-8."""
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
        is_short = len(whole) <= MAX_ENCODED_CHARS
        for line in whole.splitlines():
            needles |= _line_forms(line.strip(), is_encoded=is_short)
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


def to_bytes(text: str) -> bytes:
    """Encode as UTF-8; undecodable bytes of the environment are restored."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _all_forms(text: str) -> set[bytes]:
    if len(text) < MIN_SECRET_CHARS:
        return set()
    forms = {to_bytes(form) for form in _text_forms(text)}
    if not text.isascii():
        # Many programs print a replacement character for invalid UTF-8, and so does the scrubber.
        for mended in (to_bytes(text).decode("utf-8", "replace"), _SURROGATE.sub("\ufffd", text)):
            forms |= {to_bytes(form) for form in _text_forms(mended)} if mended != text else set()
    if len(text) <= MAX_ENCODED_CHARS:
        forms |= {to_bytes(form) for form in _quoted_forms(text)}
        forms |= _binary_forms(to_bytes(text))
    return forms


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


def _quoted_forms(text: str) -> set[str]:
    """Return the forms of URLs, HTML, Python and shells."""
    raw = to_bytes(text)
    # The last set of safe characters is that of encodeURIComponent.
    percent = {quote(raw, safe=safe) for safe in ("", "/", "!'()*")} | {quote_plus(raw)}
    percent |= {_PERCENT_ESCAPE.sub(lambda hit: hit[0].lower(), form) for form in percent}
    markup = html.escape(text)
    return percent | {
        markup,
        html.escape(text, quote=False),
        markup.replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        repr(text)[1:-1],
        *_source_forms(text),
        text.replace("'", "'\\''"),
        text.replace("'", "'\"'\"'"),
    }


def _source_forms(text: str) -> set[str]:
    """Return the forms of Go (``%q``, ``%+q``) and C; git writes file names like the latter."""
    octal = "".join(_C_ESCAPES.get(byte) or chr(byte) for byte in to_bytes(text))
    unicode = "".join(_go_char(char, ascii_only=False) for char in text)
    ascii_only = "".join(_go_char(char, ascii_only=True) for char in text)
    return {octal, unicode, ascii_only}


def _go_char(char: str, *, ascii_only: bool) -> str:
    code = ord(char)
    if code < 0x80:
        return _C_ESCAPES.get(code, char) if char in _C_SHORT else _go_control(char)
    if _ESCAPED_BYTES.start <= code < _ESCAPED_BYTES.stop:
        return f"\\x{code - 0xDC00:02x}"
    if not ascii_only and char.isprintable():
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _go_control(char: str) -> str:
    return char if char.isprintable() else f"\\x{ord(char):02x}"


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
