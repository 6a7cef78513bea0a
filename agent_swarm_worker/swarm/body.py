"""JSON the server accepts: no nulls, no NaN, no broken text, whatever a harness said.

The server refuses ``null`` where a key may be left out, and one refused field voids a whole
request (docs/api.md 1.3). So every body passes through `encode`, once, on its way out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from agent_swarm_worker.clock import wire_time

NULL = orjson.Fragment(b"null")
"""A null that is meant: for the few fields docs/api.md calls nullable."""

MAX_DEPTH = 64
_TOO_DEEP = "[nested too deeply]"
_MAX_INT = 2**63


def verbatim(value: object) -> orjson.Fragment:
    """Return `value` so that `encode` leaves it as it is, for documents such as a JSON schema."""
    return orjson.Fragment(orjson.dumps(value))


def encode(value: object) -> bytes:
    """Return `value` as JSON; keys without a value are left out, on every level."""
    return orjson.dumps(_clean(value, MAX_DEPTH), default=str)


def _clean(value: Any, depth: int) -> Any:
    match value:
        case str():
            # A lone surrogate is legal in a Python string and in no UTF-8 body.
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case None | bool() | orjson.Fragment():
            return value
        case int():
            return value if -_MAX_INT <= value < _MAX_INT else None
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return wire_time(value)
        case Mapping() | list() | tuple() if depth == 0:
            return _TOO_DEEP
        case Mapping():
            cleaned = (
                (_clean(str(key), 0), _clean(item, depth - 1)) for key, item in value.items()
            )
            return {key: item for key, item in cleaned if item is not None}
        case list() | tuple():
            return [_clean(item, depth - 1) for item in value]
        case _:
            return value
