"""The other end of the real Claude Code for the conformance checks: the scripted model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from real_claude import hermetic_env
from scripted_model import ScriptedModel


class ClaudeStage:
    """Says with tags in the prompt what the model is to do."""

    def __init__(self) -> None:
        self._model = ScriptedModel()
        self._held = AsyncExitStack()
        self._home = Path()

    @property
    def env(self) -> Mapping[str, str]:
        env = hermetic_env(self._home, self._model.url, CLAUDE_CODE_MAX_RETRIES="0")
        return {name: value for name, value in env.items() if name not in ("PATH", "HOME")}

    def answers(self, words: str) -> str:
        return f"[[say:{words}]]"

    def works(self, seconds: float) -> str:
        return f"[[bash:sleep {seconds}]]"

    def heard(self) -> Sequence[str]:
        """What the model was last sent, without what it said itself."""
        sent = self._model.requests[-1].body["messages"] if self._model.requests else []
        return [text for message in sent if message["role"] != "assistant" for text in _of(message)]

    async def __aenter__(self) -> Self:
        self._home = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        await self._held.enter_async_context(self._model)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._held.aclose()


def _of(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in content if block.get("type") == "text"]
