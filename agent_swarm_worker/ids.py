"""Generate identifiers through `IdSource`, which tests replace by predictable ones."""

from __future__ import annotations

import itertools
import re
import uuid
from typing import Protocol


class IdSource(Protocol):
    """Generates unique identifiers."""

    def __call__(self) -> str:
        """Return a new identifier in the form of a UUID."""


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID in its usual form, and nothing else."""
    return _UUID.fullmatch(text) is not None


def random_ids() -> str:
    """Return a random UUID; used in production."""
    return str(uuid.uuid4())


def counted_ids(prefix: int = 0) -> IdSource:
    """Return a source of predictable UUIDs, for tests that compare whole documents."""
    counter = itertools.count(1)
    return lambda: str(uuid.UUID(int=(prefix << 64) | next(counter)))
