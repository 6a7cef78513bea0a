"""Classify failed model requests, as `SessionFailed`.

Apart from `model_requests`, which loads the model library: idle workers do without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit.outcome import LABELS, MAX_REASON_CHARS, reset_of
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from datetime import datetime

_LABELS: dict[str, str] = {
    **LABELS,
    ErrorClass.CONTEXT_OVERFLOW: "The conversation is too long for the model",
    ErrorClass.MAX_OUTPUT_TOKENS: "The answer is too long for the model",
    ErrorClass.MODEL_NOT_FOUND: "There is no such model",
    ErrorClass.PERMISSION_DENIED: "Permission denied",
}
_MARKUP = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]{1,500}>", re.DOTALL)


class SessionFailed(ProviderError):
    """The session cannot continue; has an error category and one readable line."""

    def __init__(self, kind: str, reason: str, *, reset_at: str | None = None) -> None:
        self.kind, self.reason, self.reset_at = kind, reason, reset_at
        super().__init__(reason)


def model_failure(
    text: str,
    *,
    now: datetime,
    status: int | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> SessionFailed:
    """Classify a failed model request.

    Args:
        text: the service's error message.
        now: the current time.
        status: the HTTP status, if there was one.
        code: the service's own error type or code, if there is one.
        retry_after_s: how long the service asks to wait.
    """
    plain = " ".join(_MARKUP.sub(" ", text).split())
    kind = classify_error(text, category=code, status=status)
    label = _LABELS.get(kind, "The model request failed")
    where = f" (HTTP {status})" if status else ""
    reason = f"{label}{where}: {plain}" if plain else f"{label}{where}"
    asked = f"{text}\nretry-after: {retry_after_s or 0:.0f}"
    return SessionFailed(
        kind.value, one_line(reason, MAX_REASON_CHARS), reset_at=reset_of(kind.value, asked, now)
    )
