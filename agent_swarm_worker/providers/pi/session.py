"""Run one session of pi: an agent in this process, inside `wait_for_completion`.

The system prompt is the worker's own text, unchanged, followed by the tools, the instructions of
the repository and the skills.
"""

from __future__ import annotations

import importlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import Ending, Progress
from agent_swarm_worker.errors import ConfigError, MissingExtra, ProviderError
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.kit.conversation import ENDED, SteeringQueue
from agent_swarm_worker.providers.kit.outcome import ABORTED_EXIT
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.native import SessionFailed
from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.providers.pi.translate import CostBook, PiTranslator
from agent_swarm_worker.text import text_of_file

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
    from agent_swarm_worker.providers.pi.tools.base import Tool

CONTEXT_FILES = ("AGENTS.md", "CLAUDE.md")
"""The first one that exists is used, as by the pi command line."""
MAX_CONTEXT_BYTES = 64 * 1024


class PiSession(BaseSession):
    """Runs one conversation; `abort` cancels it at any point."""

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
        """Queue a message; return when it was sent to the model, or cannot be sent any more."""
        return await self._steering.deliver(mode, text)

    async def abort(self, reason: str = "cancelled") -> None:
        """Cancel the session's current request, wait or tool call."""
        self.stop(reason)

    def stop(self, reason: str) -> None:
        """Do the same at once."""
        if self._abort_reason is None:
            self._abort_reason = reason
            self.log.info(Event.SESSION_ABORTED, reason=reason)
            self._scope.cancel()

    async def wait_for_completion(self) -> ProviderResult:
        """Run the agent to its end."""
        if self._result is None:
            try:
                self._result = await self._run_to_result()
            finally:
                self._steering.close()
                self.close_journal()
                # Background processes of commands may run until here.
                with anyio.CancelScope(shield=True):
                    await self.config.guest.end_all()
        return self._result

    async def _run_to_result(self) -> ProviderResult:
        started_s = self.clock.monotonic()
        stop = "aborted"
        failure: SessionFailed | None = None
        with self._scope:
            failure = await self._run()
            stop = "error" if failure else "stop"
        if stop == "aborted":
            failure = SessionFailed("aborted", f"Session was aborted: {self._abort_reason}")
        self._steering.close(f"{ENDED}: {failure.reason}" if failure else ENDED)
        duration_ms = round((self.clock.monotonic() - started_s) * 1000)
        self._emit(native.end(stop, duration_ms, failure))
        exit_code = {"stop": 0, "aborted": ABORTED_EXIT}.get(stop, 1)
        return self._translator.conclude(
            Ending(exit_code=exit_code, aborted=self._abort_reason, duration_ms=duration_ms)
        )

    async def _run(self) -> SessionFailed | None:
        """Run the conversation; return why it failed."""
        most_s = self._settings.max_session_s
        try:
            with anyio.move_on_after(most_s or None) as wall:
                await self._converse()
        except SessionFailed as failure:
            return failure
        except ProviderError as error:
            return SessionFailed(error.category, str(error))
        except ConfigError as error:
            return SessionFailed("provider_error", f"{error} {error.advice}")
        except OSError as error:
            why = f"The conversation cannot be saved: {error.strerror or error}"
            return SessionFailed("provider_error", why)
        except Exception as error:  # a bug here or in a library must end this session only
            self.log.error(Event.TRANSLATE_FAILED, why=repr(error))
            return SessionFailed("internal_error", f"pi itself failed: {error!r}")
        if wall.cancelled_caught:
            why = f"Time limit exceeded: {most_s:g} s (PI_MAX_SECONDS)"
            return SessionFailed("max_time", why)
        return None

    async def _converse(self) -> None:
        agent = await anyio.to_thread.run_sync(_load, "agent")
        requests = await anyio.to_thread.run_sync(_load, "model_requests")
        history, prompt = await self._open_history()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(history.close)
            self._emit(
                native.session(
                    history.session_id,
                    self._choice,
                    str(self.config.cwd),
                    resumed=bool(history.messages),
                )
            )
            model = await stack.enter_async_context(
                requests.open_model(self._choice, self.config.env)
            )
            tools = await self._open_tools(stack)
            system_text, prompt = await self._read_texts(tools, prompt)
            requester = requests.ModelRequester(
                model=model,
                choice=self._choice,
                settings=self._settings,
                effort=self.config.reasoning_effort,
                clock=self.clock,
                book=self._book,
                emit=self._emit,
            )
            runner = agent.Agent(
                requester=requester,
                history=history,
                system_prompt=system_text,
                tools={tool.name: tool for tool in tools},
                steering=self._steering,
                emit=self._emit,
                permissions=self.config.permissions,
            )
            try:
                await runner.run(prompt)
            finally:
                self._translator.applied_effort = requester.effort

    async def _open_tools(self, stack: AsyncExitStack) -> list[Tool]:
        make_tools = _load("tools").coding_tools
        tools: list[Tool] = [
            *await make_tools(self.config, clock=self.clock, report=self._report_progress)
        ]
        if self.config.mcp_servers:
            # In a thread: loading the MCP library takes most of a second.
            mcp_tools = await anyio.to_thread.run_sync(_load, "mcp_tools")
            opening = mcp_tools.open_mcp_tools(
                self.config.mcp_servers,
                redactor=self.config.redactor,
                log=self.log,
                on_warning=self._warn,
                guest=self.config.guest,
                cwd=self.config.cwd,
                env=self.config.env,
            )
            tools += await stack.enter_async_context(opening)
        return tools

    async def _read_texts(self, tools: list[Tool], prompt: str) -> tuple[str, str]:
        """Return the system prompt, and the prompt with a skill command replaced by the skill."""
        env, guest, skills = self.config.env, self.config.guest, _load("skills")
        section = self.config.redactor.text(await skills.skills_section(guest, env))
        own = self.config.system_prompt
        system_text = await system_prompt(own, guest, self.config.cwd, tools, section)
        return system_text, await skills.with_skill(prompt, guest, env, self._warn)

    async def _open_history(self) -> tuple[History, str]:
        """Resume the requested conversation if possible, else begin a new one."""
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
            self.log.warning(Event.SESSION_RESUMED, session=resume, state="not found")
        history = make(self.config, random_ids(), clock=self.clock)
        await history.open(resumed=False)
        fresh = self.config.fresh_prompt if resume else None
        return history, fresh or self.config.prompt

    def _report_progress(self, message: str) -> None:
        self.emit(Progress(message))

    def _warn(self, message: str) -> None:
        self._emit(native.warning(message))

    def _emit(self, record: Record) -> None:
        self.take([native.encoded(record)], self._translator)


def _load(name: str) -> Any:
    """Import a module of pi that needs the model library, which idle workers do not load."""
    try:
        return importlib.import_module(f"{__package__}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("agent_swarm_worker"):
            raise
        raise MissingExtra("the harness pi", "pi") from error


async def system_prompt(
    own: str, guest: Guest, cwd: PurePath, tools: Iterable[Tool], skills: str
) -> str:
    """Return the system prompt; `own` comes first and unchanged."""
    parts = (own, _tools_section(cwd, tools), await _project_section(guest, cwd), skills)
    return "\n\n".join(part for part in parts if part.strip())


def _tools_section(cwd: PurePath, tools: Iterable[Tool]) -> str:
    names = ", ".join(tool.name for tool in tools) or "none"
    return (
        "## Your tools\n\n"
        f"You work in {cwd} with these tools: {names}. Use them to do the task rather than to "
        "describe it. Look at a file before you change it, and check what you did. When the task "
        "is done, say so in a final message without a tool call; that message is the result."
    )


async def _project_section(guest: Guest, cwd: PurePath) -> str:
    for name in CONTEXT_FILES:
        try:
            content = await guest.read(cwd / name, max_bytes=MAX_CONTEXT_BYTES + 1)
        except OSError:
            continue
        text = text_of_file(content[:MAX_CONTEXT_BYTES]).strip()
        if len(content) > MAX_CONTEXT_BYTES:
            text += "\n\n[the rest of this file is left out]"
        if text:
            return f"## Project instructions ({name})\n\n{text}"
    return ""
