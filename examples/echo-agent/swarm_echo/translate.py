"""The second pure part: what the agent's lines mean, and how a session went."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_swarm_worker.providers.kit.launch import Ending


class EchoTranslator:
    """Turns the lines of one process into events, and at the end into a result."""

    def __init__(self, config: ProviderSessionConfig) -> None:
        self._config = config
        self._session_id: str | None = None
        self._model = ""
        self._tools: dict[str, str] = {}
        self._said = ""
        self._bye: dict[str, Any] = {}

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one JSON line. One that is not understood is skipped: it is in the journal."""
        if not isinstance(native, dict):
            return ()
        return list(self._events(native))

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip what is not JSON."""
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip standard error: its end is quoted if the session fails."""
        return ()

    @property
    def is_final(self) -> bool:
        """True after the last word; from then on the process has 10 s to go."""
        return bool(self._bye)

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how it went: well only if the agent said so."""
        if self._bye.get("ok") is True and ending.aborted is None:
            return self._result(0, None, None)
        if ending.aborted is not None:
            return self._result(ending.exit_code, "aborted", f"Aborted: {ending.aborted}")
        why = self._bye.get("why") or ending.stderr_tail or f"exit code {ending.exit_code}"
        return self._result(ending.exit_code or 1, "agent_error", f"echo-agent failed: {why}")

    def _events(self, native: dict[str, Any]) -> Iterator[ProviderEvent]:
        match native:
            case {"kind": "hello", "session": str(session_id), "model": str(model)}:
                self._session_id, self._model = session_id, model
                yield SessionInit(session_id, provider="echo", model=model)
            case {"kind": "text", "text": str(said)}:
                self._said = said
                yield Message("assistant", said)
            case {"kind": "call", "id": str(call_id), "tool": str(tool)}:
                self._tools[call_id] = tool
                yield ToolStart(call_id, tool, native.get("input", {}))
            case {"kind": "answered", "id": str(call_id)}:
                tool, failed = self._tools.pop(call_id, ""), native.get("failed") is True
                yield ToolEnd(call_id, tool, native.get("output"), failed)
            case {"kind": "bye"}:
                self._bye = native
                failed = native.get("ok") is not True
                yield Result(self._cost(is_error=failed), self._said or None, failed)

    def _result(self, exit_code: int, category: str | None, reason: str | None) -> ProviderResult:
        is_error = reason is not None
        return ProviderResult(
            exit_code=exit_code,
            is_error=is_error,
            session_id=self._session_id,
            cost=self._cost(is_error=is_error),
            output=self._said or None,
            error_category=category,
            failure_reason=reason,
        )

    def _cost(self, *, is_error: bool) -> CostData | None:
        match self._bye.get("tokens"):
            case {"in": int(taken), "out": int(given)}:
                return CostData(
                    task_id=self._config.task_id,
                    agent_id=self._config.agent_id,
                    total_cost_usd=None,  # nobody said a price; that is not the same as nothing
                    input_tokens=taken,
                    output_tokens=given,
                    model=self._model,
                    is_error=is_error,
                    provider="echo",
                )
        return None
