"""How full the model's context window is, told to the server (API reference E20)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.reporting.throttle import Throttle
from agent_swarm_worker.swarm.wire import completion_body, context_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Compaction, ContextUsage, CostData

LARGE_WINDOW = 1_000_000
SMALL_WINDOW = 200_000
_SHORT_NAMES = {
    "opus": LARGE_WINDOW,
    "sonnet": LARGE_WINDOW,
    "fable": LARGE_WINDOW,
    "mythos": LARGE_WINDOW,
    "haiku": SMALL_WINDOW,
}
_FAMILY = re.compile(r"claude-(?:opus|sonnet|fable|mythos)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_LARGE_SINCE = (4, 5)


def context_window(model: str) -> int | None:
    """Return the size of a model's context window in tokens, if it is known.

    The table covers Claude models (harness notes section 17). Others are left to what their
    harness says: a made-up number would show a wrong percentage for every other model.
    """
    name = model.lower().rsplit("/", 1)[-1]
    if name.endswith("[1m]"):
        return LARGE_WINDOW
    if name in _SHORT_NAMES:
        return _SHORT_NAMES[name]
    family = _FAMILY.search(name)
    if family and (int(family[1]), int(family[2] or 0)) >= _LARGE_SINCE:
        return LARGE_WINDOW
    return SMALL_WINDOW if "claude-" in name else None


class ContextReports:
    """Keeps the sums of one session and posts snapshots of them.

    Only the main thread's usage belongs here: translators emit none for helpers the agent starts.
    """

    def __init__(
        self,
        *,
        send: Callable[[dict[str, Any]], None],
        session_uuid: str,
        model: str,
        interval_s: float,
        clock: Clock,
    ) -> None:
        self._send, self._session_uuid, self._model = send, session_uuid, model
        self._throttle = Throttle(interval_s=interval_s, send=self._post_usage, clock=clock)
        self._total_tokens: int | None = None
        self._used_tokens: int | None = None
        self._output_tokens = 0

    def model_known(self, model: str) -> None:
        """The harness named the model that really runs."""
        self._model = model

    def usage(self, event: ContextUsage) -> None:
        """Take one measurement; every one counts, few are posted."""
        self._output_tokens += max(0, event.output_tokens or 0)
        self._used_tokens = event.context_used_tokens
        self._total_tokens = event.context_total_tokens or self._total_tokens
        self._throttle.offer(event)

    def _post_usage(self, event: ContextUsage) -> None:
        total = self._window(event.context_total_tokens)
        percent = event.context_percent
        if percent is None and total:
            percent = round(event.context_used_tokens / total * 100, 2)
        complete = replace(
            event,
            context_total_tokens=total,
            context_percent=None if percent is None else min(max(percent, 0.0), 100.0),
        )
        self._send(
            context_body(
                complete,
                session_id=self._session_uuid,
                cumulative_output_tokens=self._output_tokens,
            )
        )

    def compaction(self, event: Compaction) -> None:
        """The context was shortened; each one is posted, since the server counts them."""
        self._throttle.flush()
        complete = replace(event, context_total_tokens=self._window(event.context_total_tokens))
        self._send(context_body(complete, session_id=self._session_uuid))

    def tick(self) -> None:
        """Post what the throttle kept back, if it is time."""
        self._throttle.tick()

    def completion(self, cost: CostData | None) -> None:
        """Post the final sums, if there is anything to say."""
        self._throttle.flush()
        if cost is None and self._used_tokens is None:
            return
        spent_input = cost.input_tokens if cost else None
        spent_output = cost.output_tokens if cost else None
        self._send(
            completion_body(
                session_id=self._session_uuid,
                cumulative_input_tokens=(self._used_tokens if spent_input is None else spent_input),
                cumulative_output_tokens=spent_output or self._output_tokens,
                context_total_tokens=self._window(None),
            )
        )

    def _window(self, reported: int | None) -> int | None:
        """What the harness says, else what it said before, else the table."""
        if reported and reported > 0:
            self._total_tokens = reported
        return self._total_tokens or context_window(self._model)
