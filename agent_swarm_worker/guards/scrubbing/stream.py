"""Scrub a byte stream of which a read may cut a secret anywhere.

The output equals that of scrubbing the whole stream at once. For that, the end of the stream is
held back as long as more bytes could make it a secret: the longest tail that begins a needle, and
the run of token characters that a shape could match. The hold is limited to `MAX_HELD_BYTES`: of a
longer token the first part is released early, and if it was recognised, the rest of the run is
dropped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.guards.scrubbing.matcher import MAX_PLACEHOLDER_BYTES, merge, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.guards.scrubbing.matcher import Matcher

MAX_HELD_BYTES: Final = 16 * 1024
"""Enough for a key of 16384 bits as PEM, or a token with two hundred claims."""
_RETAINED_BYTES: Final = MAX_HELD_BYTES // 2
_CONTEXT_BYTES: Final = 2 * MAX_PLACEHOLDER_BYTES
"""Bytes already written that are kept because matching looks back at them."""

_TOKEN_BYTES: Final = rb"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.~+/=:%@\\"
_HEADER: Final = re.compile(
    rb"(?i:authorization[\"'\\\s:=]{0,16}(?:(?:bearer|basic|token)[ \t]{0,4})?|bearer[ \t]{0,4})\Z"
)
_MAX_HEADER_BYTES: Final = 64
_AUTHORITY: Final = re.compile(rb"[^\s/\"'<>\\?#]{0,600}")
_MAX_AUTHORITY_BYTES: Final = 700
_OPEN_KEY: Final = re.compile(
    rb"-----BEGIN[A-Z0-9 ]{0,110}+(?:-{0,4}|(?<=PRIVATE KEY)-----[A-Za-z0-9+/=\\\s:,.-]*+"
    rb"|(?<=PRIVATE KEY BLOCK)-----[A-Za-z0-9+/=\\\s:,.-]*+)"
)
_KEY_END: Final = re.compile(rb"-----END [A-Z0-9 ]{0,60}-----")


class StreamScrubber:
    """Implements `contract.StreamRedactor`.

    `matcher` is called at each read, so a secret that is registered meanwhile is replaced.
    """

    def __init__(self, matcher: Callable[[], Matcher]) -> None:
        self._matcher = matcher
        self._buffer = b""
        self._start = 0
        """Where in the buffer the first undecided byte is."""
        self._written = 0
        """How much of the buffer was written, as it was or as a placeholder."""
        self._drops_token = False
        """A token too long to hold was written as a placeholder, and may not have ended yet."""

    @property
    def held_bytes(self) -> int:
        """How many bytes are held back because they may become a secret."""
        return len(self._buffer) - self._written

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return those that can no longer be part of a secret."""
        data = self._buffer + chunk
        matcher = self._matcher()
        undecided = max(self._start, _undecided_from(data, matcher))
        is_too_long = len(data) - undecided > MAX_HELD_BYTES
        if is_too_long:
            undecided = max(self._start, min(len(data) - _RETAINED_BYTES, matcher.open_from(data)))
        out = self._write(data, undecided, matcher)
        if is_too_long and self._written == len(data):
            self._drops_token = True
        keep_from = max(0, undecided - _CONTEXT_BYTES)
        self._buffer = data[keep_from:]
        self._start = undecided - keep_from
        self._written -= keep_from
        return out

    def close(self) -> bytes:
        """Return the held bytes, scrubbed."""
        out = self._write(self._buffer, len(self._buffer), self._matcher())
        self._buffer, self._start, self._written, self._drops_token = b"", 0, 0, False
        return out

    def _write(self, data: bytes, end: int, matcher: Matcher) -> bytes:
        """Return `data`, scrubbed, up to `end` or the end of a secret that begins before it."""
        if self._drops_token:
            rest = data[self._written :].lstrip(_TOKEN_BYTES)
            self._drops_token = not rest
            self._written = len(data) - len(rest)
        parts: list[bytes] = []
        position = self._written
        spans = matcher.find(data, self._start)
        for span in merge(span for span in spans if span.start < end):
            # A span that overlaps a secret already written belongs to its placeholder.
            if span.start >= position:
                parts += (data[position : span.start], placeholder(span.name))
            position = max(position, span.end)
        parts.append(data[position:end])
        self._written = max(position, end)
        return b"".join(parts)


def _undecided_from(data: bytes, matcher: Matcher) -> int:
    """Return where the tail of `data` starts that more bytes could turn into a secret."""
    token_run = len(data.rstrip(_TOKEN_BYTES))
    start = min(token_run, _open_key(data), matcher.open_from(data))
    # A header that makes a token of the bytes behind it is held with them.
    while header := _HEADER.search(data, max(0, start - _MAX_HEADER_BYTES), start):
        start = header.start()
    return _open_authority(data, start)


def _open_authority(data: bytes, end: int) -> int:
    """Return the start of a URL whose user and password may reach to `end`; else `end`."""
    begin = max(0, end - _MAX_AUTHORITY_BYTES)
    start, length = data.rfind(b"://", begin, end), 3
    escaped = data.rfind(b":\\/\\/", begin, end)
    if escaped > start:
        start, length = escaped, 5
    is_open = start >= 0 and _AUTHORITY.fullmatch(data, start + length, end)
    return start if is_open else end


def _open_key(data: bytes) -> int:
    """Return the start of a private key that has not ended yet; else the end of `data`."""
    start = data.rfind(b"-----BEGIN")
    is_open = start >= 0 and not _KEY_END.search(data, start) and _OPEN_KEY.fullmatch(data, start)
    return start if is_open else len(data)
