"""Harness fixtures for harnesses that ask a model: a scripted one on loopback."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pi_env import SHELL, pi_env
from real_claude import hermetic_env
from real_codex import codex_env
from scripted_model import ScriptedModel


class ModelFixture:
    """Says with tags in the prompt what the model is to do.

    Args:
        env_of: from an empty home directory and the model's address to the harness's environment.
        shell: what the harness calls its shell tool.
    """

    def __init__(self, env_of: Callable[[Path, str], dict[str, str]], shell: str = "Bash") -> None:
        self._env_of = env_of
        self._model = ScriptedModel(shell)
        self._held = AsyncExitStack()
        self._home = Path()

    @property
    def env(self) -> Mapping[str, str]:
        env = self._env_of(self._home, self._model.url)
        return {name: value for name, value in env.items() if name not in self.kept_apart}

    kept_apart = ("PATH", "HOME")
    """Variables that each session of the checks has its own of."""

    def answers(self, words: str) -> str:
        return f"[[say:{words}]]"

    def works(self, seconds: float) -> str:
        # Not the program `sleep`: Claude Code refuses a command that only sleeps.
        program = shlex.quote(sys.executable)
        return f"[[bash:{program} -S -c 'import time; time.sleep({seconds})']]"

    def heard(self) -> Sequence[str]:
        """What the model was last sent, without what it said itself."""
        return self._model.requests[-1].heard if self._model.requests else []

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


def claude_fixture() -> ModelFixture:
    return ModelFixture(partial(hermetic_env, CLAUDE_CODE_MAX_RETRIES="0"))


def codex_fixture(transport: str) -> ModelFixture:
    """One of `real_codex.TRANSPORTS`."""

    def env(home: Path, model_url: str) -> dict[str, str]:
        # The sessions have homes of their own; the model is in the operator's configuration.
        where = str(home / ".codex")
        return codex_env(home, model_url, CODEX_TRANSPORT=transport, CODEX_HOME=where)

    return ModelFixture(env)


def pi_fixture(api: str) -> ModelFixture:
    """One of `pi_env.APIS`."""
    return ModelFixture(partial(pi_env, api=api), SHELL)
