"""How a check says that a promise is broken, or that it has no meaning here."""

from __future__ import annotations

from typing import NoReturn


class BrokenPromise(Exception):
    """The provider does not do what the contract says; the message says what it did."""


class NotApplicable(Exception):
    """This promise has no meaning for this provider, or cannot be looked at here."""


def broken(what: str) -> NoReturn:
    """Say that a promise is broken, and how.

    Raises:
        BrokenPromise: always.
    """
    raise BrokenPromise(what)
