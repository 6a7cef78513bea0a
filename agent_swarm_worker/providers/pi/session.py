"""One session of pi: an agent in this process, living inside `wait_for_completion`.

The system prompt of a session: what the worker says, word for word, and what pi adds.
"""

from __future__ import annotations

import importlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.errors import ConfigError, MissingExtra, ProviderError
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.kit.conversation import ENDED, SteeringQueue
from agent_swarm_worker.providers.kit.launch import Ending
from agent_swarm_worker.providers.kit.outcome import ABORTED_EXIT, MAX_REASON_CHARS
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.ask import SessionFailed
from agent_swarm_worker.providers.pi.client import open_model
from agent_swarm_worker.providers.pi.costs import CostBook
from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.providers.pi.translate import PiTranslator
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePath

    from agent_swarm_worker.contract import (
        Guest,
        ProviderResult,
        ProviderSessionConfig,
        SteerDelivery,
        SteerMode,
    )
    from agent_swarm_worker.providers.pi.history import History
    from agent_swarm_worker.providers.pi.models import ModelChoice
    from agent_swarm_worker.providers.pi.native import Record
    from agent_swarm_worker.providers.pi.tool import Tool

_HERE = "agent_swarm_worker.providers.pi"


@dataclass(frozen=True, slots=True)
class _End:
    """How it ended."""

    stop: str = "stop"
    category: str | None = None
    reason: str | None = None
    reset_at: str | None = None

    @property
    def exit_code(self) -> int:
        return {"stop": 0, "aborted": ABORTED_EXIT}.get(self.stop, 1)

    def record(self, duration_ms: int) -> Record:
        failure = {
            "category": self.category,
            "error": self.reason,
            "rate_limit_reset_at": self.reset_at,
        }
        return native.end(self.stop, duration_ms, failure)


class PiSession(BaseSession):
    """Drives one conversation; `abort` cancels it wherever it is."""

    def __init__(
        self, config: ProviderSessionConfig, choice: ModelChoice, *, clock: Clock | None = None
    ) -> None:
        super().__init__(config, clock=clock or SystemClock())
        self._choice = choice
        self._settings = PiOptions.load(config.env)
        self._steering = SteeringQueue()
        self._book = CostBook(choice)
        self._translator = PiTranslator(config, self._book)
        self._abort_reason: str | None = None
        self._scope = anyio.CancelScope()
        self._result: ProviderResult | None = None

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Leave a message; returns when the model has it, or cannot get it any more."""
        return await self._steering.deliver(mode, text)

    async def abort(self, reason: str = "cancelled") -> None:
        """Cancel whatever the session is doing: a request, a pause, a tool."""
        if self._abort_reason is None:
            self._abort_reason = reason
            self.log.info(Event.SESSION_ABORTED, reason=reason)
            self._scope.cancel()

    async def wait_for_completion(self) -> ProviderResult:
        """Run the agent to its end."""
        if self._result is None:
            try:
                self._result = await self._live()
            finally:
                self._steering.close()
                self.close_journal()
                # What a command left in the background may stay while the session lives.
                with anyio.CancelScope(shield=True):
                    await self.config.guest.end_all()
        return self._result

    async def _live(self) -> ProviderResult:
        started_s = self.clock.monotonic()
        end: _End | None = None
        with self._scope:
            end = await self._run()
        if end is None:
            reason = f"Session was aborted: {self._abort_reason}"
            end = _End("aborted", "aborted", reason)
        self._steering.close(f"{ENDED}: {end.reason}" if end.reason else ENDED)
        duration_ms = round((self.clock.monotonic() - started_s) * 1000)
        self._say(end.record(duration_ms))
        return self._translator.conclude(
            Ending(exit_code=end.exit_code, aborted=self._abort_reason, duration_ms=duration_ms)
        )

    async def _run(self) -> _End:
        most_s = self._settings.max_session_s
        try:
            with anyio.move_on_after(most_s or None) as wall:
                await self._converse()
            if wall.cancelled_caught:
                return _End(
                    "error", "max_time", f"Time limit exceeded: {most_s:g} s (PI_MAX_SECONDS)"
                )
        except SessionFailed as failure:
            return _End("error", failure.kind, failure.reason, failure.reset_at)
        except ProviderError as error:
            return _End("error", error.category, one_line(str(error), MAX_REASON_CHARS))
        except ConfigError as error:
            return _End(
                "error", "provider_error", one_line(f"{error} {error.advice}", MAX_REASON_CHARS)
            )
        except OSError as error:
            why = f"The conversation cannot be saved: {error.strerror or error}"
            return _End("error", "provider_error", one_line(why, MAX_REASON_CHARS))
        except Exception as error:  # a mistake of ours or of a library: the task ends, we do not
            self.log.error(Event.TRANSLATE_FAILED, why=repr(error))
            return _End(
                "error",
                "internal_error",
                one_line(f"pi itself failed: {error!r}", MAX_REASON_CHARS),
            )
        return _End()

    async def _converse(self) -> None:
        agent = await anyio.to_thread.run_sync(_load, "agent")
        ask = await anyio.to_thread.run_sync(_load, "ask")
        history, prompt = await self._open_history()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(history.close)
            self._say(
                native.session(
                    history.session_id,
                    self._choice,
                    str(self.config.cwd),
                    resumed=bool(history.messages),
                )
            )
            model = await stack.enter_async_context(open_model(self._choice, self.config.env))
            tools = await self._open_tools(stack)
            told, prompt = await self._read_texts(tools, prompt)
            asker = ask.Asker(
                model,
                self._choice,
                self._settings,
                effort=self.config.reasoning_effort,
                clock=self.clock,
                book=self._book,
                say=self._say,
            )
            worker = agent.Agent(
                asker,
                self._choice,
                self._settings,
                history,
                system_prompt=told,
                tools=tools,
                steering=self._steering,
                book=self._book,
                say=self._say,
            )
            try:
                await worker.run(prompt)
            finally:
                self._translator.applied_effort = asker.applied_effort

    async def _open_tools(self, stack: AsyncExitStack) -> tuple[Any, ...]:
        tools = await _load("tools").coding_tools(self.config, clock=self.clock)
        box = _load("mcp_tools").McpTools(
            self.config.mcp_servers,
            redactor=self.config.redactor,
            log=self.log,
            on_warning=self._warn,
            guest=self.config.guest,
            cwd=self.config.cwd,
            env=self.config.env,
        )
        return (*tools, *await stack.enter_async_context(box.open()))

    async def _read_texts(self, tools: tuple[Any, ...], prompt: str) -> tuple[str, str]:
        """Return the system prompt, and the prompt with a skill in the place of its command."""
        env, guest, skills = self.config.env, self.config.guest, _load("skills")
        section = self.config.redactor.text(await skills.skills_section(guest, env))
        own = self.config.system_prompt
        told = await system_prompt(own, guest, self.config.cwd, tools, section)
        return told, await skills.with_skill(prompt, guest, env, self._warn)

    async def _open_history(self) -> tuple[History, str]:
        """Continue the conversation asked for, if that is possible, else begin one."""
        make = _load("history").History
        resume = self.config.resume_session_id
        if resume:
            try:
                history: History = make(self.config, resume, clock=self.clock)
                if await history.open(resumed=True):
                    return history, self.config.prompt
                await history.close()
            except ConfigError as error:
                self.log.warning(Event.SESSION_RESUMED, session=resume, why=str(error))
            self.log.warning(Event.SESSION_RESUMED, session=resume, found=False)
        history = make(self.config, random_ids(), clock=self.clock)
        await history.open(resumed=False)
        fresh = self.config.fresh_prompt if resume else None
        return history, fresh or self.config.prompt

    def _warn(self, message: str) -> None:
        self._say(native.warning(message))

    def _say(self, record: Record) -> None:
        line = orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS)
        self.take([line], self._translator)


def _load(name: str) -> Any:
    """Import a part of pi that takes the model library, which idle workers do without.

    Raises:
        MissingExtra: that library is not installed.
    """
    try:
        return importlib.import_module(f"{_HERE}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("agent_swarm_worker"):
            raise
        raise MissingExtra("the harness pi", "pi") from error


CONTEXT_FILES = ("AGENTS.md", "CLAUDE.md")
"""The first one there is counts, as with the pi command line."""
MAX_CONTEXT_BYTES = 64 * 1024


async def system_prompt(
    own: str, guest: Guest, cwd: PurePath, tools: Iterable[Tool], skills: str
) -> str:
    """Compose the prompt; `own` stands first and unchanged."""
    parts = (own, _surroundings(cwd, tools), await _project_context(guest, cwd), skills)
    return "\n\n".join(part for part in parts if part.strip())


def _surroundings(cwd: PurePath, tools: Iterable[Tool]) -> str:
    names = ", ".join(tool.name for tool in tools) or "none"
    return (
        "## Your tools\n\n"
        f"You work in {cwd} with these tools: {names}. Use them to do the task rather than to "
        "describe it. Look at a file before you change it, and check what you did. When the task "
        "is done, say so in a final message without a tool call; that message is the result."
    )


async def _project_context(guest: Guest, cwd: PurePath) -> str:
    for name in CONTEXT_FILES:
        text = await _read(guest, cwd / name)
        if text:
            return f"## Project instructions ({name})\n\n{text}"
    return ""


async def _read(guest: Guest, path: PurePath) -> str:
    try:
        content = await guest.read(path, max_bytes=MAX_CONTEXT_BYTES + 1)
    except OSError:
        return ""
    text = content[:MAX_CONTEXT_BYTES].decode("utf-8", "replace").strip()
    cut = "\n\n[the rest of this file is left out]" if len(content) > MAX_CONTEXT_BYTES else ""
    return text + cut
