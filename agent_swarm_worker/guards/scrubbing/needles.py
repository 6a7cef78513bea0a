"""Derive from a secret its *needles*: the byte strings that reveal it.

A secret seldom appears as it was entered. Tool results nest JSON in JSON, URLs quote it, headers
carry it in base64. Each form is one needle; the automaton of `matcher` searches for all of them at
once, so their number costs little.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
            forms |= {to_bytes(quoted), *map(to_bytes, _nested_json_forms(quoted))}
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
    return raw.union(*map(_nested_json_forms, raw))


def _nested_json_forms(text: str) -> set[str]:
    """Return the inside of the JSON string, and of one that contains it."""
    once = _json_forms(text)
    flags = (False, True)
    return once | {json.dumps(form, ensure_ascii=flag)[1:-1] for form in once for flag in flags}


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


# --- as shells, programs and languages quote a value
# Each form is the inside of the quotes; `tests/guards/test_quoting.py` compares the real programs.

_BYTES: Final = range(128, 256)
_BYTE_SURROGATE: Final = 0xDC00
"""Python represents the byte b, if it is not UTF-8, by this plus b."""
_CONTROLS: Final = (*range(32), 127)
_PERCENT_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")
_ESCAPE_NAMES: Final = dict(zip("abtnvfr", "\a\b\t\n\v\f\r", strict=True)) | {
    "E": "\x1b",
    "e": "\x1b",
}
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_+/=-]+")
"""Only URLs quote these characters."""
_BARE: Final = re.compile("[\\w@%+=:,./\ufffd\udc80-\udcff-]*")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_KEPT_BY_ESCAPE: Final = re.compile(r"[\w@*+./-]", re.ASCII)
_GNU_ESCAPES: Final = re.compile("[\x00-\x1f\x7f]+")
_GNU_BYTES: Final = re.compile("[\x00-\x1f\x7f-\xff]+")


def to_bytes(text: str) -> bytes:
    """Encode as UTF-8; undecodable bytes of the environment are restored."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def quoted_forms(text: str) -> set[str]:
    """Return the forms of URLs, HTML, shells, Python, JavaScript, Go and C."""
    if _URL_SAFE.fullmatch(text):
        return _web_forms(text)
    as_bytes = to_bytes(text).decode("latin-1")
    forms = {text.translate(table) for table in _TABLES} | {_gnu(text, _GNU_ESCAPES)}
    if not text.isascii():
        forms |= {as_bytes.translate(table) for table in _BYTE_TABLES}
        # Behind quotes of both kinds Python escapes those that it would choose.
        forms |= {_gnu(as_bytes, _GNU_BYTES), ascii(text)[1:-1], ascii(f"'\"{text}")[4:-1]}
        forms.add(_ASTRAL.sub(lambda char: _octal_bytes(char[0]), text.translate(_MKSH)))
    if text[0] in "~#=":  # escaped only there
        forms |= {f"\\{text.translate(table)}" for table in (_BASH_Q, _ZSH_Q)}
    if "'" in text:
        forms |= _single_quoted(text) | {_single_quoted_gnu(form) for form in forms}
    return forms | _web_forms(text) | {repr(text)[1:-1], *_go_forms(text)}


def _single_quoted(text: str) -> set[str]:
    """Return the forms of shells that leave the quotes for a quote; YAML and SQL double it."""
    forms = {
        text.replace("'", "'\\''"),
        text.replace("'", "'\"'\"'"),
        re.sub("'+", lambda run: f"'\"{run[0]}\"'", text),
        re.sub("'+", lambda run: "'{}'".format("\\'" * len(run[0])), text),
        text.replace("'", "''"),
        text.replace("'", "'\\''").replace("!", "'\\!'"),  # git
        "\\'".join(p if _BARE.fullmatch(p) else f"'{p}'" for p in text.split("'")),  # zsh: (q-)
    }
    # At the ends some shells leave empty quotes out.
    return forms | {form.strip("'") for form in forms}


def _single_quoted_gnu(form: str) -> str:
    return form.replace("'", "'\\''") if "'$'" not in form else form


def _web_forms(text: str) -> set[str]:
    raw = to_bytes(text)
    # The last two sets of safe characters are those of encodeURIComponent and encodeURI.
    safe_sets = ("", "/", "!'()*", ";,/?:@&=+$!'()*#")
    percent = {quote(raw, safe=safe) for safe in safe_sets} | {quote_plus(raw)}
    percent |= {quote_plus(raw, safe="*").replace("~", "%7E"), _javascript_escape(text)}
    percent |= {_PERCENT_ESCAPE.sub(lambda hit: hit[0].lower(), form) for form in percent}
    markup = html.escape(text)
    return percent | {
        markup,
        html.escape(text, quote=False),
        markup.replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        text.replace("$", "$$"),  # compose files
    }


def _javascript_escape(text: str) -> str:
    raw = text.encode("utf-16-be", "surrogatepass")
    units = (int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2))
    return "".join(
        chr(unit)
        if _KEPT_BY_ESCAPE.fullmatch(chr(unit))
        else (f"%{unit:02X}" if unit < 256 else f"%u{unit:04X}")
        for unit in units
    )


def _gnu(text: str, outside: re.Pattern[str]) -> str:
    """Return the form of coreutils: what needs escapes has quotes of its own."""
    quoted = text.replace("'", "'\\''")
    return outside.sub(lambda run: f"'$'{run[0].translate(_C_ESCAPES)}''", quoted).strip("'")


def _octal_bytes(char: str) -> str:
    return "".join(map(_octal, char.encode()))


def _octal(byte: int) -> str:
    return f"\\{byte:03o}"


def _hex(byte: int) -> str:
    return f"\\x{byte:02x}"


def _hex_upper(byte: int) -> str:
    return f"\\x{byte:02X}"


def _zsh_control(byte: int) -> str:
    code = byte & 127
    meta = "\\M-" if byte > 127 else ""
    return f"{meta}\\C-{chr(code ^ 64)}" if code in _CONTROLS else f"{meta}{chr(code)}"


def _fish_control(byte: int) -> str:
    return f"\\X{byte:02x}" if byte > 127 else f"\\c{chr(byte | 96)}" if byte < 27 else _hex(byte)


def _table(
    escaped: str,
    names: str = "",
    control: Callable[[int], str] = _octal,
    *,
    bytes_too: bool = False,
) -> dict[int, str]:
    """Return a translation: a backslash before `escaped`, letters for `names`, others by number."""
    table = {code: control(code) for code in _CONTROLS}
    table |= {_BYTE_SURROGATE + byte: control(byte) for byte in _BYTES}
    if bytes_too:
        table |= {byte: control(byte) for byte in _BYTES}
    table |= {ord(_ESCAPE_NAMES[letter]): f"\\{letter}" for letter in names}
    return table | {ord(char): f"\\{char}" for char in escaped}


def _plain_table(escaped: str) -> dict[int, str]:
    return {ord(char): f"\\{char}" for char in escaped}


_C_ESCAPES: Final = _table("", "abtnvfr", bytes_too=True)
_BASH_Q: Final = _plain_table(" '\"\\|&;()<>!{}*[]?^$`,")
_ZSH_Q: Final = _plain_table(" '\"\\|&;()<>{}*[]?^$`#") | {
    code: f"$'{text}'" for code, text in _table("", "abtnvfr").items()
}
_MKSH: Final = _table("\\", "abtnvfrE") | {ord("'"): "\\047"}
_TABLES: Final = (
    _BASH_Q,
    _ZSH_Q,
    _plain_table('"\\$`'),  # in double quotes
    _plain_table('"\\$'),
    _table("'\\", "abtnvfrE"),  # bash: $'…'
    _table("'\\!", "abtnvfr"),  # zsh: ${(qqqq)x}
    _table("'\\", "tn", _zsh_control),  # zsh: export -p
    _MKSH,
    _table(" '\"\\$#~{}*%()[]<>&|;?", "btnre", _fish_control),
    _table("\\", "btnre", _fish_control),  # fish: set --show
    _table("\\", "abtnvfr"),  # C; env -v
    _table('"\\', "abtnvfr"),
    *(_table(f"{mark}\\", "tnr", _hex) for mark in ("'", '"', "")),  # Python
    *(_table(f"{mark}\\", "btnfr", _hex_upper) for mark in ("'", '"', "`", "")),  # JavaScript
)
_BYTE_TABLES: Final = (
    _table("'\\", "abtnvfrE", bytes_too=True),  # bash without a locale
    _table("\\", "abtnvfr", bytes_too=True),
    _table('"\\', "abtnvfr", bytes_too=True),  # git
    *(_table(f"{mark}\\", "tnr", _hex, bytes_too=True) for mark in ("'", '"', "")),  # bytes
)


def _go_forms(text: str) -> set[str]:
    return {"".join(_go_char(char, ascii_only=flag) for char in text) for flag in (False, True)}


def _go_char(char: str, *, ascii_only: bool) -> str:
    code = ord(char)
    if code < 0x80:
        return _GO.get(code, char)
    if _BYTE_SURROGATE + 128 <= code < _BYTE_SURROGATE + 256:
        return _hex(code - _BYTE_SURROGATE)
    if not ascii_only and char.isprintable():
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


_GO: Final = _table('"\\', "abtnvfr", _hex)
