"""Reduces a write that is refused over its content, until it passes.

A gateway limits the size of requests (413), and a firewall refuses texts that look like an attack
(403, 406, or anything else). Both refuse the same request each time. So texts are shortened in
steps, and what a firewall takes for an attack is masked; nothing but a note is left in the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.http import RETRIED_STATUSES
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    GatewayRefused,
    RouteMissing,
    Unauthorized,
)
from agent_swarm_worker.text import truncate_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TOO_LARGE = 413
CONTENT_REFUSED = (400, TOO_LARGE, 422)
"""The API's statuses for content that it refuses."""
_FAILED_ON_CONTENT = (500, 501)
LARGE_BYTES = 32 * 1024
"""A connection that is closed over a larger request is taken to be about its size first."""
MAX_BLOCKING_ATTEMPTS = 8
"""Attempts after which a write that the server fails on moves to the end of its lane."""
PERSISTENT_ATTEMPTS = 3
"""Attempts, and answers to other requests, after which a failure is taken to be over the content;
and a write that a gateway refuses in any form is set aside."""
STEP = 4
MIN_BYTES = 512
_KEPT = re.compile(
    r"(.*_)?(id|uuid|provider)|.*(Id|Uuid|Url|Repo|At|Timestamp|Type|Provider|Formula|Trigger)|"
    "status|event|category|source|sourcePath|scope|mode|type"
)
"""Keys of identifiers, times and names that the server compares or checks."""
_LOOK_ALIKES = str.maketrans(
    "<>'\"`;|&$(){}[]\\/=%#@*!?",
    "‹›’”ˋ；¦＆＄（）｛｝［］＼∕＝％＃＠∗！？",  # noqa: RUF001 - that is what they are for
)
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PUNCTUATION_IN_STRING = re.compile(r"\\u....|\\.|[^A-Za-z0-9 ]")
_ANY_IN_STRING = re.compile(r"\\u....|\\.|.", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NEITHER_WORD_NOR_BLANK = re.compile(r"[^A-Za-z0-9 \n]")
_TWO_OF_A_WORD = re.compile(r"([A-Za-z0-9]{2})(?=[A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Persistence:
    """How often a write was tried, and what became of other requests meanwhile."""

    attempts: int = 1
    answers: int = 0
    """To other requests since the first attempt."""

    @property
    def is_repeated(self) -> bool:
        """True if the write has failed again and again."""
        return self.attempts >= MAX_BLOCKING_ATTEMPTS or self.is_specific

    @property
    def is_specific(self) -> bool:
        """True if it has failed again and again while other requests were answered."""
        return self.attempts > PERSISTENT_ATTEMPTS <= self.answers

    @property
    def is_for_long(self) -> bool:
        """True if it has failed for longer than an overload or a restart takes."""
        return self.attempts >= MAX_BLOCKING_ATTEMPTS and self.is_specific


def is_over_content(error: ApiError, persistence: Persistence, *, size: int = 0) -> bool:
    """True if another content of the same request may be accepted; `size` is the content's."""
    match error:
        case ApiError(is_of_reading=True):
            return False
        case GatewayRefused() if error.status != 404:
            is_beside_answers = persistence.attempts > 1 and persistence.answers > 0
            return is_size(error) or is_beside_answers or persistence.is_repeated
        case GatewayRefused():
            return persistence.is_repeated
        case RouteMissing():
            return False
        case Unauthorized():
            return persistence.is_specific  # the key was accepted meanwhile
        case ApiRefused() if error.status in CONTENT_REFUSED:
            return True
        case ApiRefused() if error.status in _FAILED_ON_CONTENT:
            return persistence.is_repeated
        case ApiRefused():
            is_gateways = error.body is None and not error.retry_after_s
            return is_gateways and is_temporary(error) and persistence.is_for_long
        case ApiUnreachable():
            is_large = size > LARGE_BYTES and persistence.is_repeated
            return error.ambiguous and (is_large or persistence.is_specific)
        case _:
            return isinstance(error, ApiGarbled) and persistence.is_specific


def is_failure(error: ApiError) -> bool:
    """True if the server failed over a request, which may be because of its content."""
    return isinstance(error, ApiRefused) and error.status in _FAILED_ON_CONTENT


def is_temporary(error: ApiError) -> bool:
    """True for a status that says that the same request may succeed later."""
    if not isinstance(error, ApiRefused) or isinstance(error, Unauthorized):
        return False
    return error.is_server_fault or error.status in RETRIED_STATUSES


def is_size(error: ApiError, size: int = 0) -> bool:
    """True if an error is about the size of a request with this size of content."""
    if isinstance(error, ApiUnreachable):
        return size > LARGE_BYTES
    return getattr(error, "status", None) == TOO_LARGE


@dataclass(frozen=True, slots=True)
class Reduction:
    """How much of a text is sent, and how."""

    max_bytes: int
    mask: int = 0
    """1: punctuation is replaced by characters that look alike. 2: words are broken up too."""
    where: str = ""
    """Where the whole text is."""

    @property
    def is_last(self) -> bool:
        """True if nothing but the note is sent."""
        return self.max_bytes == 0

    @property
    def how(self) -> str:
        """What was done to the texts, for the log."""
        return "masked" if self.mask else "shortened"

    def text(self, whole: str) -> str:
        """Return a text, with a note if it is not whole."""
        size = len(whole.encode("utf-8", "replace"))
        if size > self.max_bytes:
            head, tail = self.ends(whole)
            note = self._note("shortened", f"{len(head) + len(tail)} of {len(whole)} characters")
            parts = masked(head, self.mask), note, masked(tail, self.mask)
            return "\n".join(part for part in parts if part)
        plain = masked(whole, self.mask)
        return plain if plain == whole else f"{plain}\n{self._note('masked', 'some characters')}"

    def ends(self, whole: str) -> tuple[str, str]:
        """Return the beginning and the end of a text that is too long."""
        tail_bytes = self.max_bytes // 4
        head = truncate_bytes(whole, self.max_bytes - tail_bytes, errors="replace")
        tail = truncate_bytes(whole[::-1], tail_bytes, errors="replace")[::-1]
        return head, tail

    def value(self, value: Any, key: str = "") -> Any:
        """Return a JSON value with its free texts reduced; identifiers and names are kept."""
        match value:
            case str() if not _KEPT.fullmatch(key):
                return self.text(value)
            case Mapping():
                items = ((str(name), item) for name, item in value.items())
                return {
                    name if name.isidentifier() else masked(name, 2): self.value(item, name)
                    for name, item in items
                }
            case list() | tuple():
                return [self.value(item, key) for item in value]
            case _:
                return value

    def _note(self, what: str, how_much: str) -> str:
        where = f" The whole text: {self.where}" if self.where else ""
        return f"[… {what}: {how_much}, since a gateway refuses the request otherwise.{where}]"


def masked(text: str, mask: int) -> str:
    """Return a text in which a firewall finds no pattern, still readable."""
    if mask == 0:
        return text
    if mask == 1:
        return _CONTROL.sub("\ufffd", text).translate(_LOOK_ALIKES)
    return _TWO_OF_A_WORD.sub(r"\1_", _NEITHER_WORD_NOR_BLANK.sub("_", text))


def escaped_json(text: str, mask: int) -> str:
    """Return the same JSON with characters of its strings escaped: punctuation, with mask 2 all."""
    part = _ANY_IN_STRING if mask > 1 else _PUNCTUATION_IN_STRING
    return _JSON_STRING.sub(lambda found: f'"{part.sub(_escape, found[1])}"', text)


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if char[0] == "\\":
        return char
    return json.dumps(char)[1:-1] if ord(char) > 127 else f"\\u{ord(char):04x}"


async def send_reduced(
    refusal: ApiError,
    send: Callable[[Reduction], Awaitable[object]],
    *,
    size: int,
    where: str = "",
    persistence: Persistence,
) -> Reduction:
    """Send less and less until it is accepted; return what was.

    Args:
        refusal: of the whole.
        send: sends what a reduction leaves.
        size: of the longest text in bytes.
        where: the whole text is, for the note.
        persistence: of the failure.

    Raises:
        ApiError: the last refusal, or another error.
    """
    reduction = Reduction(size, where=where)
    has_masked = False
    while True:
        if not is_size(refusal, reduction.max_bytes) and not has_masked:
            has_masked = reduction.mask == 1
            reduction = replace(reduction, mask=reduction.mask + 1)
        elif reduction.is_last:
            raise refusal
        else:
            smaller = reduction.max_bytes // STEP
            reduction = replace(reduction, max_bytes=smaller if smaller >= MIN_BYTES else 0)
        try:
            await send(reduction)
        except ApiError as error:
            if not is_over_content(error, persistence, size=reduction.max_bytes):
                raise
            refusal = error
        else:
            return reduction
