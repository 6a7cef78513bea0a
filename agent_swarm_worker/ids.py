"""Generate identifiers through `IdSource`, which tests replace by predictable ones."""

from __future__ import annotations

import itertools
import uuid
from typing import Protocol


class IdSource(Protocol):
    """Generates unique identifiers."""

    def __call__(self) -> str:
        """Return a new identifier in the form of a UUID."""


def random_ids() -> str:
    """Return a random UUID; used in production."""
    return str(uuid.uuid4())


def counted_ids(prefix: int = 0) -> IdSource:
    """Return a source of predictable UUIDs, for tests that compare whole documents."""
    counter = itertools.count(1)
    return lambda: str(uuid.UUID(int=(prefix << 64) | next(counter)))
