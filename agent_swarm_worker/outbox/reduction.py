"""Reduces a write that is refused over its content, until it passes.

A gateway limits the size of requests (413), and a firewall refuses texts that look like an attack
(403, 406, or anything else). Both refuse the same request each time. So texts are shortened in
steps, and what a firewall takes for an attack is masked; nothing but a note is left in the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
"""A gateway may close the connection of a larger request instead of answering it."""
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
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NEITHER_WORD_NOR_BLANK = re.compile(r"[^A-Za-z0-9 \n]")
_TWO_OF_A_WORD = re.compile(r"([A-Za-z0-9]{2})(?=[A-Za-z0-9])")


def is_over_content(error: ApiError, *, persistence: int, size: int = 0) -> bool:
    """True if another content of the same request may be accepted.

    Args:
        error: of the request.
        persistence: of the failure; 1 if other requests were answered meanwhile, 2 if it has
            also been repeated.
        size: of the content in bytes.
    """
    if error.is_of_reading:
        return False
    match error:
        case GatewayRefused():
            return is_size(error) or persistence > (error.status == 404)
        case Unauthorized() | RouteMissing():
            return False
        case ApiRefused():
            return error.status in CONTENT_REFUSED or (persistence > 1 and is_failure(error))
        case ApiUnreachable():
            return persistence > 1 and error.ambiguous and size > LARGE_BYTES
        case _:
            return persistence > 1 and isinstance(error, ApiGarbled)


def is_failure(error: ApiError) -> bool:
    """True if the server failed over a request, which may be because of its content."""
    return isinstance(error, ApiRefused) and error.status in _FAILED_ON_CONTENT


def is_size(error: ApiError) -> bool:
    """True if an error is about the size of a request."""
    return isinstance(error, ApiUnreachable) or getattr(error, "status", None) == TOO_LARGE


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


async def send_reduced(
    refusal: ApiError,
    send: Callable[[Reduction], Awaitable[object]],
    *,
    size: int,
    where: str = "",
    persistence: int = 0,
) -> Reduction:
    """Send less and less until it is accepted; return what was.

    Args:
        refusal: of the whole.
        send: sends what a reduction leaves.
        size: of the longest text in bytes.
        where: the whole text is, for the note.
        persistence: see `is_over_content`.

    Raises:
        ApiError: the last refusal, or another error.
    """
    reduction = Reduction(size, where=where)
    has_masked = False
    while True:
        if not is_size(refusal) and not has_masked:
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
            if not is_over_content(error, persistence=persistence, size=reduction.max_bytes):
                raise
            refusal = error
        else:
            return reduction
