"""The harnesses of the whole-swarm tests; `HARNESSES` has one entry for each."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from pi_env import APIS, SHELL, pi_env
from real_claude import hermetic_env
from real_codex import codex_env
from scripted_model import ScriptedModel


class Model(Protocol):
    """Whatever plays the model; a harness needs only its address."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessKind:
    """One harness: how to start what plays its model, and the settings that choose it."""

    name: str
    model: Callable[[], AbstractAsyncContextManager[Model]]
    env: Callable[[Path, str], dict[str, str]]
    """From an empty home directory and the model's address to the worker's settings."""
    can_resume: bool
    """Whether it continues sessions of its own."""


@dataclass(frozen=True, slots=True)
class _NoModel:
    url: str = ""


@contextlib.asynccontextmanager
async def _no_model() -> AsyncIterator[_NoModel]:
    yield _NoModel()


def _scripted(home: Path, _: str) -> dict[str, str]:
    program = Path(__file__).with_name("scripted_agent.py")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HARNESS_PROVIDER": "subprocess",
        "HARNESS_COMMAND": shlex.join([sys.executable, "-S", "-B", str(program)]),
    }


def _claude(home: Path, model_url: str) -> dict[str, str]:
    return hermetic_env(home, model_url, HARNESS_PROVIDER="claude", CLAUDE_CODE_MAX_RETRIES="0")


def _codex(home: Path, model_url: str) -> dict[str, str]:
    return codex_env(home, model_url, HARNESS_PROVIDER="codex")


SCRIPTED = HarnessKind(name="scripted", model=_no_model, env=_scripted, can_resume=False)
CLAUDE = HarnessKind(name="claude", model=ScriptedModel, env=_claude, can_resume=True)
CODEX = HarnessKind(name="codex", model=ScriptedModel, env=_codex, can_resume=True)
PI = [
    HarnessKind(
        name=f"pi-{api}",
        model=partial(ScriptedModel, SHELL),
        env=partial(pi_env, api=api, HARNESS_PROVIDER="pi"),
        can_resume=True,
    )
    for api in APIS
]

HARNESSES = [
    pytest.param(SCRIPTED, id=SCRIPTED.name),
    pytest.param(CLAUDE, id=CLAUDE.name, marks=pytest.mark.slow),
    pytest.param(CODEX, id=CODEX.name, marks=pytest.mark.slow),
    *(pytest.param(pi, id=pi.name) for pi in PI),
]
