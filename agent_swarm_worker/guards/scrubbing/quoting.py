"""Write a value as shells, programs and languages quote it.

Each form is the inside of the quotes. What real programs print is compared in
`tests/guards/test_quoting.py`.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTES: Final = range(128, 256)
_BYTE_SURROGATE: Final = 0xDC00
"""Python represents the byte b, if it is not UTF-8, by this plus b."""
_CONTROLS: Final = (*range(32), 127)
_PERCENT_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")
_NAMES: Final = dict(zip("abtnvfr", "\a\b\t\n\v\f\r", strict=True)) | {"E": "\x1b", "e": "\x1b"}
_BASE64: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_+/=-]+")
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
    if _BASE64.fullmatch(text):
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
    table |= {ord(_NAMES[letter]): f"\\{letter}" for letter in names}
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
