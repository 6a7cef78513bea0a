"""Schedules the attempts of a write: exponential backoff with full jitter."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from agent_swarm_worker.errors import ApiError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

MAX_BACKOFF_S = 30.0
LOCKED_OUT_BACKOFF_S = (30.0, 60.0)
"""Pause after a 401, in seconds: the key must be replaced first."""

_backoff = wait_random_exponential(multiplier=0.5, max=MAX_BACKOFF_S)


def attempts(sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """Return the attempts of one write, without end; an `ApiError` leads to another."""
    return AsyncRetrying(retry=retry_if_exception_type(ApiError), wait=_pause_s, sleep=sleep)


def _pause_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unauthorized):
        return random.uniform(*LOCKED_OUT_BACKOFF_S)  # noqa: S311 - spreads load, guards nothing
    return _backoff(state)
