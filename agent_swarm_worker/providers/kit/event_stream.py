"""Translate the JSON events of a command line, up to a final one: what such harnesses share.

`EventTranslator` keeps the state of a session and builds events and result from it; a harness adds
`read`, for its own events. Messages of Anthropic's shape, which several harnesses print, are read
by `message_blocks` and `CallState.helper_of`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import (
    Error,
    Helper,
    Message,
    Plan,
    ProviderEvent,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.kit.costs import CostBook, cost_data
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.lenient_json import MAX_QUOTED_CHARS, UNREADABLE, torn_event
from agent_swarm_worker.providers.kit.native import items, mapping, plan_step, text
from agent_swarm_worker.providers.kit.outcome import (
    Failure,
    TranslationState,
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent_swarm_worker.contract import (
        CostData,
        Ending,
        HarnessSpec,
        ProviderResult,
        ProviderSessionConfig,
    )

MAX_OPEN_CALLS = 1000
"""Limit of remembered tool calls, and of subagents; a faulty CLI may never answer them."""
MAX_MESSAGE_CHARS = 16 << 20
"""Limit of a message that comes in pieces; the rest is only in the journal."""
_TODO_TOOLS = frozenset({"TodoWrite", "todo_write"})


@dataclass(slots=True, kw_only=True)
class CallState(TranslationState):
    """The state of a translation that matches the ends of tool calls with their starts by id."""

    tools: dict[str, tuple[str, Any, Helper | None]] = field(default_factory=dict)
    """Name, arguments and caller of each open tool call, by its id."""
    helpers: dict[str, Helper] = field(default_factory=dict)
    """The subagents, by the id of the call that started each."""

    def start_of(
        self, call_id: str, name: str, args: Any, helper: Helper | None = None
    ) -> ToolStart:
        """Record a call; return its event."""
        self.tools[call_id] = (name, args, helper)
        if len(self.tools) > MAX_OPEN_CALLS:
            del self.tools[next(iter(self.tools))]
        return ToolStart(call_id, name, {} if args is None else args, helper)

    def end_of(
        self, call_id: str, result: Any, *, is_error: bool, helper: Helper | None = None
    ) -> ToolEnd:
        """Return the event for the end of a call; `helper` is the caller of an unknown one."""
        name, _, caller = self.tools.pop(call_id, None) or ("", None, helper)
        return ToolEnd(call_id, name, result, is_error, caller)

    def helper_of(self, event: dict[str, Any]) -> Helper | None:
        """Return the subagent of a message; it is named by the call that started it."""
        parent = event.get("parent_tool_use_id")
        if not parent:
            return None
        known = self.helpers.get(call_id := text(parent))
        if known is None:
            args = mapping(self.tools.get(call_id, ("", None, None))[1])
            names = (
                event.get("task_description"),
                args.get("description"),
                args.get("subagent_type"),
            )
            known = Helper(call_id, next(filter(None, map(text, names)), ""))
            self.helpers[call_id] = known
            if len(self.helpers) > MAX_OPEN_CALLS:
                del self.helpers[next(iter(self.helpers))]
        return known


def message_blocks(
    state: CallState, block: dict[str, Any], helper: Helper | None
) -> Iterator[ProviderEvent]:
    """Translate one content block of an assistant message: text, or a tool call."""
    match block.get("type"):
        case "text" if message := text(block.get("text")):
            if helper is None:
                state.last_text = message
            yield Message("assistant", message, helper is not None, helper)
        case "thinking" if thought := text(block.get("thinking")):
            yield Reasoning(thought, helper)
        case "tool_use" if name := text(block.get("name")):
            args = block.get("input")
            yield state.start_of(text(block.get("id")), name, args, helper)
            if name in _TODO_TOOLS and helper is None:
                yield plan_of(args)


def plan_of(args: Any) -> Plan:
    """Return the plan that is written with these arguments of a tool."""
    todos = map(mapping, items(mapping(args).get("todos")))
    return Plan(
        tuple(
            plan_step(
                text(todo.get("content")) or text(todo.get("description")),
                text(todo.get("status")).lower().removeprefix("todo_status_"),
            )
            for todo in todos
        )
    )


class EventTranslator(JsonTranslator):
    """Translates the events of one process, and at its end builds the result.

    The session is a success only if the harness reported one with `finish`.
    """

    spec: ClassVar[HarnessSpec]
    title: ClassVar[str]
    """The name of the harness as it begins a sentence."""
    final_type: ClassVar[str] = "result"
    """The type of its last event."""

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        self.state = CallState(config=config, clock=clock or SystemClock(), model=config.model)
        self.costs = CostBook()
        self._deltas: list[str] = []
        self._delta_chars = 0
        self._is_final = False
        self._failed: Failure | None = None
        self._has_worked = False

    def read(self, kind: str, event: dict[str, Any]) -> Iterable[ProviderEvent]:
        """Translate one event of type `kind`; skip an unknown one."""
        raise NotImplementedError

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one native event."""
        event = mapping(native)
        events = list(self.read(text(event.get("type")), event))
        self._has_worked = self._has_worked or any(map(_is_work, events))
        return events

    def feed_text(self, line: str) -> Sequence[ProviderEvent]:
        """Take a final event that cannot be read as a failure: it may have told one."""
        if self._is_final or torn_event(line, (self.final_type,)) != self.final_type:
            return ()
        why = f"{UNREADABLE}: {one_line(line, MAX_QUOTED_CHARS)}"
        return list(self.finish(self.failure_of(why)))

    @property
    def is_final(self) -> bool:
        """True after the final event."""
        return self._is_final

    def begin(self, session_id: str, model: str = "", version: str = "") -> Iterator[ProviderEvent]:
        """Emit `SessionInit` if it is new; set the model and its context window."""
        state = self.state
        if model and model != state.model:
            state.model, state.window = model, None
        state.window = state.window or context_window(state.model, self.spec.models)
        if not session_id or state.session_id is not None:
            return
        state.session_id = session_id
        yield SessionInit(
            session_id,
            provider=self.spec.name,
            harness_variant="stock",
            harness_variant_meta={"version": version} if version else {},
            model=state.model or None,
        )

    def delta(self, piece: str) -> None:
        """Add a piece of the assistant's message under way."""
        self._delta_chars += len(piece)
        if self._delta_chars <= MAX_MESSAGE_CHARS:
            self._deltas.append(piece)

    def flush(self) -> Iterator[ProviderEvent]:
        """End the message under way; emit it."""
        message, self._deltas, self._delta_chars = self._whole(self._deltas), [], 0
        if message.strip():
            self.state.last_text = message
            self.state.last_error = None
            yield Message("assistant", message)

    def thought(self, *pieces: str) -> Iterator[ProviderEvent]:
        """Emit the model's reasoning."""
        if (content := self._whole(pieces)).strip():
            yield Reasoning(content)

    def _whole(self, pieces: Sequence[str]) -> str:
        """Join the pieces of a text, each of which may have a part of a secret."""
        joined = "".join(pieces)
        return self.state.config.redactor.text(joined) if len(pieces) > 1 else joined

    def error(self, message: str, status: int | None = None) -> Error:
        """Record an error that may be the reason of the end, and return its event."""
        kind = self.class_of(message, status)
        self.state.last_error = Error(message, kind if kind != ErrorClass.UNKNOWN else None)
        return self.state.last_error

    def failure_of(self, message: str, status: int | None = None) -> Failure:
        """Return the failure of a session whose harness reports this message."""
        kind = self.class_of(message, status)
        return failure(kind if kind != ErrorClass.UNKNOWN else "error_during_execution", message)

    def class_of(self, message: str, status: int | None = None) -> str:
        """Return the class of an error."""
        return classify_error(message, status=status, also=self.spec.error_texts).value

    def finish(self, failed: Failure | None = None) -> Iterator[ProviderEvent]:
        """Take the outcome that the harness reports: a success, or `failed`."""
        yield from self.flush()
        if failed is None and not (self._has_worked or self.state.last_text or self.costs.models):
            failed = Failure("empty_run", f"{self.title} ended without asking a model")
        self._is_final, self._failed = True, failed
        category = failed.category if failed else None
        cost = self.cost(is_error=failed is not None)
        yield Result(cost, self.state.last_text or None, failed is not None, category)

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far; ``None`` if the harness has reported none."""
        if not self.costs.models:
            return None
        return cost_data(
            self.state.config,
            self.costs.models,
            provider=self.spec.name,
            model=self.state.model,
            is_error=is_error,
            **self.cost_details(),
        )

    def cost_details(self) -> dict[str, Any]:
        """Return further fields of the cost."""
        return {}

    def applied_effort(self) -> str | None:
        """Return the reasoning effort that was used."""
        return self.state.config.reasoning_effort

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        for _ in self.flush():
            pass  # a message that broke off is the last text
        state, failed = self.state, self._failure(ending)
        reset_at = None
        if failed is not None:
            now = state.clock.now()
            reset_at = reset_of(failed.category, failed.reason, now, state.limits.resets_at)
        return concluded(
            failed,
            exit_code=(ending.exit_code or 1) if failed else 0,
            session_id=state.session_id,
            cost=self.cost(is_error=failed is not None),
            output=state.last_text or None,
            reset_at=reset_at,
            windows=state.limits.windows,
            applied_effort=self.applied_effort(),
        )

    def _failure(self, ending: Ending) -> Failure | None:
        if self._is_final and self._failed is not None:
            return self._failed
        # After its final event a harness may be ended by a signal.
        is_over = ending.hung_after_result or ending.exit_code == 0 or ending.exit_code > 128
        if self._is_final and is_over:
            return None
        last_error = self.state.last_error
        return aborted(ending) or unfinished(
            self.title, ending, self.class_of, last_error=last_error
        )


def _is_work(event: ProviderEvent) -> bool:
    return isinstance(event, Message | ToolStart)
