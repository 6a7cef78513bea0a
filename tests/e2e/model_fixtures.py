"""Harness fixtures for harnesses that ask a model: a scripted one on loopback."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import real_gemini
import real_pi_cli
from cli_table import CLIS
from pi_env import SHELL, pi_env
from real_claude import hermetic_env
from real_codex import codex_env
from real_gemini import gemini_env
from real_pi_cli import pi_cli_env
from scripted_model import ScriptedModel


class ModelFixture:
    """Makes prompts whose tags tell the scripted model what to do.

    Args:
        env_of: from an empty home directory and the model's address to the harness's environment.
        shell: the name of the harness's shell tool.
        shell_arguments: further arguments that it needs.
    """

    def __init__(
        self,
        env_of: Callable[[Path, str], dict[str, str]],
        shell: str = "Bash",
        shell_arguments: dict[str, Any] | None = None,
    ) -> None:
        self._env_of = env_of
        self._model = ScriptedModel(shell, shell_arguments)
        self._resources = AsyncExitStack()
        self._home = Path()

    @property
    def env(self) -> Mapping[str, str]:
        env = self._env_of(self._home, self._model.url)
        return {name: value for name, value in env.items() if name not in self.of_session}

    of_session = ("PATH", "HOME")
    """Variables of which each session of the checks has its own value."""

    def answers(self, words: str) -> str:
        return f"[[say:{words}]]"

    def works(self, seconds: float) -> str:
        # Not the program `sleep`: Claude Code refuses a command that only sleeps.
        program = shlex.quote(sys.executable)
        return f"[[bash:{program} -S -c 'import time; time.sleep({seconds})']]"

    def marks(self, name: str) -> str:
        program = shlex.quote(sys.executable)  # grok asks about no mere `touch`
        return f'[[bash:{program} -S -c \'open("{name}", "w")\']]'

    def heard(self) -> Sequence[str]:
        """The texts of the last request to the model, without the model's own."""
        return self._model.requests[-1].heard if self._model.requests else []

    async def __aenter__(self) -> Self:
        self._home = Path(self._resources.enter_context(tempfile.TemporaryDirectory()))
        await self._resources.enter_async_context(self._model)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()


def claude_fixture() -> ModelFixture:
    return ModelFixture(partial(hermetic_env, CLAUDE_CODE_MAX_RETRIES="0"))


def codex_fixture(transport: str) -> ModelFixture:
    """One of `real_codex.TRANSPORTS`."""

    def env(home: Path, model_url: str) -> dict[str, str]:
        # The sessions have homes of their own; the model is in the operator's configuration.
        where = str(home / ".codex")
        return codex_env(home, model_url, CODEX_TRANSPORT=transport, CODEX_HOME=where)

    return ModelFixture(env)


def acp_fixture(name: str) -> ModelFixture:
    """One of `cli_table.CLIS`."""
    cli = CLIS[name]
    return ModelFixture(cli.env, cli.shell, dict(cli.shell_arguments))


def pi_fixture(api: str) -> ModelFixture:
    """One of `pi_env.APIS`."""
    return ModelFixture(partial(pi_env, api=api), SHELL)


def gemini_fixture() -> ModelFixture:
    def env(home: Path, model_url: str) -> dict[str, str]:
        # The sessions have homes of their own; how to reach the model is in the user's settings.
        return gemini_env(home, model_url, GEMINI_CLI_HOME=str(home))

    return ModelFixture(env, real_gemini.SHELL)


def pi_cli_fixture() -> ModelFixture:
    def env(home: Path, model_url: str) -> dict[str, str]:
        return pi_cli_env(home, model_url, PI_CODING_AGENT_DIR=str(home / ".pi/agent"))

    return ModelFixture(env, real_pi_cli.SHELL)
