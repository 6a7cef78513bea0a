"""Schedules the attempts of a write: exponential backoff with full jitter."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from agent_swarm_worker.errors import ApiError, ApiRefused, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

MAX_BACKOFF_S = 30.0
LOCKED_OUT_BACKOFF_S = (30.0, 60.0)
"""Pause after a 401, in seconds: the key must be replaced first."""

_backoff = wait_random_exponential(multiplier=0.5, max=MAX_BACKOFF_S)


def attempts(sleep: Callable[[float], Awaitable[None]], *, least_s: float = 0.0) -> AsyncRetrying:
    """Return the attempts of one write, without end; an `ApiError` leads to another.

    Between two of them are `least_s` at least.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(ApiError),
        wait=lambda state: max(_pause_s(state), least_s),
        sleep=sleep,
    )


def _pause_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unauthorized):
        return random.uniform(*LOCKED_OUT_BACKOFF_S)  # noqa: S311 - spreads load, guards nothing
    asked_s = error.retry_after_s if isinstance(error, ApiRefused) else 0.0
    return max(_backoff(state), asked_s)
