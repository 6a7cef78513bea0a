"""Identifiers, injectable."""

from __future__ import annotations

import itertools
import uuid
from typing import Protocol


class IdSource(Protocol):
    """Hands out identifiers that are never given twice."""

    def __call__(self) -> str:
        """Return a new identifier, shaped like a UUID."""
        ...


def random_ids() -> str:
    """Return a random UUID; what production uses."""
    return str(uuid.uuid4())


def counted_ids(prefix: int = 0) -> IdSource:
    """Return a source of predictable UUIDs, for tests that compare whole documents."""
    counter = itertools.count(1)
    return lambda: str(uuid.UUID(int=(prefix << 64) | next(counter)))
