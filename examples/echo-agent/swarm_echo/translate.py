"""Translate the lines of ``echo-agent`` into events and a result (the second pure part)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    CostData,
    Message,
    ProviderEvent,
    ProviderResult,
    ProviderSessionConfig,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.guards.error_classes import classify_error
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from swarm_echo.spec import SPEC

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_swarm_worker.contract import Ending


class EchoTranslator(JsonTranslator):
    """Translates the lines of one process into events, and at its end into a result."""

    def __init__(self, config: ProviderSessionConfig) -> None:
        self._config = config
        self._session_id: str | None = None
        self._model = ""
        self._tools: dict[str, str] = {}
        self._last_text = ""
        self._bye: dict[str, Any] = {}

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one JSON line. An unknown one is skipped: it is in the journal."""
        if not isinstance(native, dict):
            return ()
        return list(self._events(native))

    @property
    def is_final(self) -> bool:
        """True after the last event; the process then has 10 s to exit."""
        return bool(self._bye)

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result: a success only if the agent reported one.

        The shared session turns one that was reported after an abort into ``aborted``.
        """
        if self._bye.get("ok") is True:
            return self._result(0, None, None)
        if ending.aborted is not None:
            return self._result(ending.exit_code, "aborted", f"Aborted: {ending.aborted}")
        why = self._bye.get("why") or ending.stderr_tail or f"exit code {ending.exit_code}"
        category = classify_error(str(why), also=SPEC.error_texts).value
        return self._result(ending.exit_code or 1, category, f"echo-agent failed: {why}")

    def _events(self, native: dict[str, Any]) -> Iterator[ProviderEvent]:
        match native:
            case {"kind": "hello", "session": str(session_id), "model": str(model)}:
                self._session_id, self._model = session_id, model
                yield SessionInit(session_id, provider="echo", model=model)
            case {"kind": "text", "text": str(message)}:
                self._last_text = message
                yield Message("assistant", message)
            case {"kind": "call", "id": str(call_id), "tool": str(tool)}:
                self._tools[call_id] = tool
                yield ToolStart(call_id, tool, native.get("input", {}))
            case {"kind": "answered", "id": str(call_id)}:
                tool, failed = self._tools.pop(call_id, ""), native.get("failed") is True
                yield ToolEnd(call_id, tool, native.get("output"), failed)
            case {"kind": "bye"}:
                self._bye = native
                failed = native.get("ok") is not True
                yield Result(self._cost(is_error=failed), self._last_text or None, failed)

    def _result(self, exit_code: int, category: str | None, reason: str | None) -> ProviderResult:
        is_error = reason is not None
        return ProviderResult(
            exit_code=exit_code,
            is_error=is_error,
            session_id=self._session_id,
            cost=self._cost(is_error=is_error),
            output=self._last_text or None,
            error_category=category,
            failure_reason=reason,
        )

    def _cost(self, *, is_error: bool) -> CostData | None:
        match self._bye.get("tokens"):
            case {"in": int(taken), "out": int(given)}:
                return CostData(
                    task_id=self._config.task_id,
                    agent_id=self._config.agent_id,
                    total_cost_usd=None,  # the price is unknown, which is not the same as 0
                    input_tokens=taken,
                    output_tokens=given,
                    model=self._model,
                    is_error=is_error,
                    provider=SPEC.server_name,
                )
        return None
