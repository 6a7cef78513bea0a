"""What a request may weigh: how many bytes, how deep, and how long it may take to come.

Nothing is read beyond its limit, so that nobody's body fills this server's memory, and what is
stored can always be shown again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import orjson

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Sixteen times the largest batch of log lines that a worker sends."""
MAX_DEPTH = 64
"""Levels of a JSON body; what is written out again may have some more around it."""
BODY_TIMEOUT_S = 60.0
"""For a whole body. Clients are on the same machine, or at least on the same network."""


class Unfit(Exception):
    """A request that is answered with an error status; never leaves the local swarm."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {**more, "error": message}


async def body_of(request: Request, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Return the body of a request.

    Raises:
        Unfit: it is too long (413), announced or real, or takes too long (408).
        ClientDisconnect: the caller has left.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_long(max_bytes)
    body = bytearray()
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise _too_long(max_bytes)
    except TimeoutError:
        raise Unfit(408, f"Request body took longer than {BODY_TIMEOUT_S:g} s") from None
    return bytes(body)


def json_of(content: bytes, *, fault: int = 500) -> Any:
    """Parse a body; an empty one counts as ``{}``.

    Args:
        content: the body.
        fault: status for broken JSON, which the public server takes for a fault of its own.

    Raises:
        Unfit: it is nested too deeply (400), or broken.
    """
    if not content.strip():
        return {}
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if str(error).startswith("depth limit"):
            raise _too_deep() from None
        raise Unfit(fault, f"JSON Parse error: {error}") from error
    if _is_deep(value):
        raise _too_deep()
    return value


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _too_deep() -> Unfit:
    return Unfit(400, f"Validation error: nested more than {MAX_DEPTH} levels deep")


def _too_long(max_bytes: int) -> Unfit:
    return Unfit(413, f"Payload too large (max {max_bytes} bytes)")
