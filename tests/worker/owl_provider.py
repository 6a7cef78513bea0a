"""A provider of another distribution: a specification and a minimal adapter."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import anyio

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Capabilities,
    ContextUsage,
    Credentials,
    Guest,
    HangTexts,
    HarnessSpec,
    Installation,
    Models,
    Program,
    ProviderEvent,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    SessionInit,
    Skills,
    ToolStart,
)
from agent_swarm_worker.errors import BinaryMissing
from agent_swarm_worker.providers.kit.session import BaseSession

SPEC = HarnessSpec(
    name="owl",
    wire_name="codex",
    program=Program(
        name="owl-agent",
        install=Installation(tool="pip", package="owl-agent", version="7.1"),
    ),
    credentials=Credentials(variables=("OWL_KEY",), personal=("OWL_LOGIN",), one_at_a_time=True),
    models=Models(
        default="barn-owl",
        tiers={"smart": "eagle-owl-2"},
        windows=((r"^eagle-owl", 123_000),),
        uses_catalog=False,
    ),
    skills=Skills(folders=(".owl/lore",), command_form="hoot {name}"),
    capabilities=Capabilities(mcp_transports=()),
    error_texts={"usage_limit": (r"too many hoots",)},
    hang_texts=HangTexts(asking=(r"which way, keeper",)),
    tools={"peruse": "read"},
)
GIVEN: dict[str, Mapping[str, str]] = {}
"""The environment of each session, by task."""


class OwlAdapter:
    name = "owl"
    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        if shutil.which("owl-agent", path=env.get("PATH")) is None and "OWL_IN_PROCESS" not in env:
            raise BinaryMissing("owl-agent")

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        return _Session(config)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return f"hoot {command_name}"


class _Plain:
    """A translator of words that mean nothing to the worker."""

    def feed(self, native: object) -> tuple[ProviderEvent, ...]:
        return ()

    def feed_text(self, line: str) -> tuple[ProviderEvent, ...]:
        return ()

    def feed_stderr(self, line: str) -> tuple[ProviderEvent, ...]:
        return ()


class _Session(BaseSession):
    def __init__(self, config: ProviderSessionConfig) -> None:
        super().__init__(config, clock=SystemClock())
        self._end = anyio.Event()

    async def wait_for_completion(self) -> ProviderResult:
        GIVEN[self.config.task_id] = dict(self.config.env)
        self.emit(SessionInit("owl-session", model=self.config.model))
        self.emit(ToolStart("1", "peruse", {"file_path": "/wood/hollow/tree.txt"}))
        self.emit(ContextUsage(12_300))
        if "get lost" in self.config.prompt:
            self.take([b"which way, keeper"], _Plain())
            await self._end.wait()
            return ProviderResult(exit_code=143, is_error=True, error_category="aborted")
        if "be greedy" in self.config.prompt:
            return ProviderResult(exit_code=1, is_error=True, failure_reason="Too many hoots today")
        return ProviderResult(exit_code=0, is_error=False, output=self.config.model)

    async def abort(self, reason: str = "cancelled") -> None:
        self._end.set()
