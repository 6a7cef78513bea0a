"""A complete harness for an invented agent that prints JSON lines.

``heron run`` takes its prompt from standard input. Each of its lines has a ``kind``: ``session``,
``step``, ``tool``, ``tool_done``, ``usage``, ``limit``, ``error`` or ``end``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import (
    Capabilities,
    ContextUsage,
    CostData,
    Credentials,
    Ending,
    Error,
    Guest,
    HarnessSpec,
    Message,
    Models,
    PrivateFile,
    Progress,
    Prompt,
    ProviderEvent,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    Result,
    SessionInit,
    Skills,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing
from agent_swarm_worker.guards.error_classes import classify_error
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.costs import CostBook, Tokens, cost_data
from agent_swarm_worker.providers.kit.launch import CliHarness, JsonTranslator, Launch, SpecAdapter
from agent_swarm_worker.providers.kit.mcp_config import mcp_config_bytes, swarm_server_of
from agent_swarm_worker.providers.kit.native import count, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import (
    REJECTED,
    Failure,
    LimitWindows,
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)

# -- spec ------------------------------------------------------------------------------------------

SPEC = HarnessSpec(
    name="heron",
    wire_name="claude",
    credentials=Credentials(variables=("HERON_API_KEY",)),
    models=Models(default="heron-2", aliases={"fast": "heron-2-mini"}),
    skills=Skills(folders=(".heron/skills",)),
    prompt=Prompt(delivery="stdin", system_delivery="file"),
    capabilities=Capabilities(can_resume=True, cost_source="harness"),
    error_texts={"overloaded": (r"the pond is full",)},
)
PROGRAM = "heron"
STALE = "stale_session"

# -- launch ----------------------------------------------------------------------------------------


def heron_launch(config: ProviderSessionConfig) -> Launch:
    """Build the launch of one session."""
    system, servers = config.private_dir / "system.md", config.private_dir / "mcp.json"
    model = SPEC.models.aliases.get(config.model.lower(), config.model) or SPEC.models.default
    options = ["--json", "--model", model, "--system", str(system), "--mcp", str(servers)]
    if config.resume_session_id:
        options += ["--resume", config.resume_session_id]
    if config.reasoning_effort:
        options += ["--effort", config.reasoning_effort]
    ours = swarm_server_of(config)
    return Launch(
        argv=(PROGRAM, "run", *options, *config.additional_args),
        env=config.env,
        cwd=config.cwd,
        stdin=config.prompt.encode("utf-8", "replace"),
        files=(
            PrivateFile(path=system, content=config.system_prompt.encode("utf-8", "replace")),
            PrivateFile(path=servers, content=mcp_config_bytes((ours, *config.mcp_servers))),
        ),
    )


# -- translate -------------------------------------------------------------------------------------

_TOKENS = {
    "input": ("in",),
    "output": ("out",),
    "cache_read": ("cached",),
    "cache_write": ("stored",),
}


class HeronTranslator(JsonTranslator):
    """Translates the lines of one process into events, and at its end into a result."""

    def __init__(self, config: ProviderSessionConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._costs = CostBook()
        self._limits = LimitWindows(self._clock)
        self._session_id: str | None = None
        self._model = ""
        self._window: int | None = None
        self._last_text = ""
        self._tools: dict[str, str] = {}
        self._last_error: Error | None = None
        self._end: dict[str, Any] | None = None

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one line; an unknown kind is skipped."""
        line = mapping(native)
        read = _READERS.get(text(line.get("kind")))
        return list(read(self, line)) if read else ()

    @property
    def is_final(self) -> bool:
        """True once the agent has reported its outcome."""
        return self._end is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        failed = self._failure(ending)
        reset_at = None
        if failed is not None:
            now, known = self._clock.now(), self._limits.resets_at
            reset_at = reset_of(failed.category, failed.reason, now, known)
        return concluded(
            failed,
            exit_code=(ending.exit_code or 1) if failed else 0,
            session_id=self._session_id,
            cost=self._cost(is_error=failed is not None),
            output=self._last_text or None,
            reset_at=reset_at,
            windows=self._limits.windows,
            applied_effort=self._config.reasoning_effort,
        )

    def _failure(self, ending: Ending) -> Failure | None:
        end = self._end or {}
        if end.get("ok") is True:
            return None
        if self._end is not None:
            why = text(end.get("why"))
            return failure(text(end.get("class")) or _class_of(why), why)
        return aborted(ending) or unfinished(
            "Heron", ending, _class_of, last_error=self._last_error
        )

    def _cost(self, *, is_error: bool) -> CostData | None:
        if not self._costs.models:
            return None
        return cost_data(
            self._config,
            self._costs.models,
            provider=SPEC.server_name,
            model=self._model,
            is_error=is_error,
        )

    def _session(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        self._session_id = text(line.get("id"))
        self._model = text(line.get("model"))
        self._window = count(line.get("window"))
        yield SessionInit(self._session_id, provider=SPEC.name, model=self._model or None)

    def _step(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        self._last_error = None
        self._last_text = text(line.get("text")) or self._last_text
        yield Message("assistant", text(line.get("text")))

    def _tool(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        call_id, name = text(line.get("call")), text(line.get("name"))
        self._tools[call_id] = name
        yield ToolStart(call_id, name, line.get("input"))

    def _tool_done(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        call_id = text(line.get("call"))
        name = self._tools.pop(call_id, "")
        yield ToolEnd(call_id, name, line.get("output"), line.get("failed") is True)

    def _usage(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Take the total of a model since its start, and the price of this call."""
        model = text(line.get("model")) or self._model
        call = self._costs.grown(model, Tokens.read(line.get("total"), _TOKENS))
        self._costs.add(model, call, number(line.get("usd")))
        used = call.input + call.cache_read + call.cache_write + call.output
        percent = min(100.0, used / self._window * 100) if self._window else None
        yield ContextUsage(used, self._window, percent, call.output, "input-cache-output")

    def _limit(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        ends_s, status = number(line.get("until")), text(line.get("status"))
        used = number(line.get("used"))
        self._limits.note(text(line.get("name")), status, utilization=used, resets_at_s=ends_s)
        if status == REJECTED:
            self._limits.note_end([ends_s])
        yield from ()

    def _error(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        message = text(line.get("text")) or "unknown error"
        self._last_error = Error(message, _class_of(message))
        yield Progress(message) if line.get("retry") is True else self._last_error

    def _ended(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        self._end = line
        failed = self._failure(Ending(exit_code=0))
        category = failed.category if failed else None
        cost = self._cost(is_error=failed is not None)
        yield Result(cost, self._last_text or None, failed is not None, category)


def _class_of(message: str) -> str:
    return classify_error(message, also=SPEC.error_texts).value


_READERS: Mapping[str, Callable[[HeronTranslator, dict[str, Any]], Iterable[ProviderEvent]]] = {
    "session": HeronTranslator._session,
    "step": HeronTranslator._step,
    "tool": HeronTranslator._tool,
    "tool_done": HeronTranslator._tool_done,
    "usage": HeronTranslator._usage,
    "limit": HeronTranslator._limit,
    "error": HeronTranslator._error,
    "end": HeronTranslator._ended,
}

# -- adapter ---------------------------------------------------------------------------------------


class HeronAdapter(SpecAdapter):
    """Runs each task in a process of ``heron``."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Raise `CredentialsMissing` or `BinaryMissing` if no session could start."""
        if not any(env.get(name, "").strip() for name in SPEC.credentials.variables):
            raise CredentialsMissing(self.name, SPEC.credentials.variables)
        if await guest.files.which(PROGRAM, env) is None:
            raise BinaryMissing(PROGRAM)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session."""

        def harness(config: ProviderSessionConfig) -> CliHarness:
            translator = HeronTranslator(config)
            return CliHarness(
                launch=heron_launch(config), translator=translator, stale_resume=(STALE,)
            )

        return CliSession(config, harness)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the agent's own file of that session exists; the id may be any text."""
        try:
            name = f"{UUID(session_id)}.jsonl"
        except ValueError:
            return False
        path = f"{config.env.get('HOME', '')}/.heron/sessions/{name}"
        return await config.guest.files.info(path) is not None

    async def translator(self, config: ProviderSessionConfig) -> HeronTranslator:
        """Return a translator for the replay of a journal."""
        return HeronTranslator(config)
