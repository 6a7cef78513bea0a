"""Set up a session before its first prompt: permission mode, options, model, effort.

Agents differ in what they offer and in what they make of it, so each setting is one request, and
the value is read back. Only a model that the agent refuses ends the session: it would do the task
with another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Error, Progress
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.acp.launch import mcp_servers_param
from agent_swarm_worker.providers.acp.target import FULL_AUTO_MODES
from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent_swarm_worker.contract import ProviderEvent
    from agent_swarm_worker.providers.acp.launch import Plan
    from agent_swarm_worker.providers.acp.outcome import AcpState

_EFFORT_IDS = ("effort", "reasoning_effort", "thought_level", "thinking")
_MODEL_ID = re.compile(r"[A-Za-z][\w./@:-]*")
MAX_SHOWN_CHARS = 100
_ASKS = re.compile(r"mode|allow|approv|permission|autonomy|trust", re.IGNORECASE)
"""In the id of an option: it may decide what an agent asks permission for."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One request; `wanted` is what it sets, for people."""

    method: str
    params: dict[str, Any]
    what: str
    wanted: str = ""
    is_model: bool = False
    is_guard: bool = False
    """With the value it wants, the agent asks for permission, or stops asking."""


class SessionSetup:
    """What is set of one session, in which order, and what came of it."""

    def __init__(self, state: AcpState, plan: Plan) -> None:
        self._state = state
        self._plan = plan
        self._options: dict[str, dict[str, Any]] = {}
        """Configuration options by id."""
        self._modes: dict[str, Any] = {}
        self._models: dict[str, Any] = {}
        self._steps = self._planned()
        self._step: _Step | None = None
        self._events: list[ProviderEvent] = []
        self.unguarded: Error | None = None
        """Why the agent would not ask for permission, of a session in which it has to."""
        self._is_in_prompt = False
        """The system prompt goes in front of the first prompt."""

    def opening(self, offered: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of a new or continued session, given the session capabilities."""
        config = self._state.config
        params: dict[str, Any] = {
            "cwd": str(config.cwd),
            "mcpServers": mcp_servers_param(self._plan.mcp_servers),
        }
        prompt = config.system_prompt
        if not prompt or self._plan.has_system_prompt:
            return params
        if "systemPrompt" in offered:
            params["systemPrompt"] = {
                "mode": "append",
                "content": [{"type": "text", "text": prompt}],
            }
        elif self._plan.target.system_prompt == "rules":
            params["_meta"] = {"rules": prompt}
        else:
            self._is_in_prompt = True
        return params

    def first_prompt(self) -> str:
        """Return the prompt. One that begins like a command of the agent is not to be one."""
        config = self._state.config
        if self._is_in_prompt:
            system = f"<system_instructions>\n{config.system_prompt}\n</system_instructions>"
            return f"{system}\n\n{config.prompt}"
        is_command = config.prompt.lstrip().startswith(("/", "!"))
        if is_command and not self._state.spec.skills.native_discovery:
            return f"The task:\n{config.prompt}"
        return config.prompt

    def offered(self, native: dict[str, Any]) -> None:
        """Take what the agent says of its modes, models and options."""
        if isinstance(native.get("configOptions"), list):
            found = [mapping(one) for one in native["configOptions"]]
            self._options = {text(one.get("id")): one for one in found if text(one.get("id"))}
        self._modes = mapping(native.get("modes")) or self._modes
        self._models = mapping(native.get("models")) or self._models
        option = self._options.get("model")
        if option is not None:
            current = text(option.get("currentValue"))
            names = {text(one.get("value")): text(one.get("name")) for one in _values(option)}
        else:
            current = text(self._models.get("currentModelId"))
            names = {
                text(one.get("modelId")): text(one.get("name"))
                for one in map(mapping, items(self._models.get("availableModels")))
            }
        if current:
            shown = _MODEL_ID.fullmatch(current) and not current.startswith("custom:")
            self._state.model = current if shown else names.get(current) or current

    def taken_events(self) -> list[ProviderEvent]:
        """Return and clear what there is to say."""
        events, self._events = self._events, []
        return events

    def next_step(self) -> tuple[str, dict[str, Any]] | None:
        """Return the next request; ``None`` if everything is set."""
        self._step = next(self._steps, None)
        return None if self._step is None else (self._step.method, self._step.params)

    def accepted(self, result: Any) -> Iterator[ProviderEvent]:
        """Take the answer to the request; say so if the agent kept another value."""
        step, native = self._step, mapping(result)
        assert step is not None
        self.offered(native)
        if "modelId" in step.params and not mapping(native.get("models")):
            self._models = {**self._models, "currentModelId": step.params["modelId"]}
            self.offered({})
        option = self._options.get(text(step.params.get("configId")), {})
        if "configOptions" in native and option.get("currentValue") not in (
            step.params.get("value"),
            None,
        ):
            kept = one_line(str(option.get("currentValue")), MAX_SHOWN_CHARS)
            yield Progress(f"The agent keeps {step.what} {kept} instead of {step.wanted}")
            if self._state.config.permissions is not None and step.is_guard:
                what = f"the agent keeps {step.what} {kept}, in which it may ask nobody"
                self.unguarded = Error(what, "provider_error")
        elif step.what == "effort":
            self._state.applied_effort = self._state.config.reasoning_effort

    def refused(self, error: Error) -> Error | None:
        """Take the refusal of the request; return the error if it ends the session."""
        step = self._step
        assert step is not None
        if self._state.config.permissions is not None and step.is_guard:
            self.unguarded = Error(f"the agent refuses {step.what} {step.wanted}", "provider_error")
            return self.unguarded
        if step.is_model:
            kind = ErrorClass.MODEL_NOT_FOUND.value
            return Error(f"the agent refuses the model {step.wanted}: {error.message}", kind)
        self._events.append(
            Progress(f"The agent refuses {step.what} {step.wanted}: {error.message}")
        )
        return None

    def _planned(self) -> Iterator[_Step]:
        """Yield the requests; each is made of what the agent offers by then."""
        yield from self._mode()
        for option_id, value in self._plan.target.options.items():
            if option_id in self._options:
                yield from self._option(option_id, value, is_guard=True)
        for option_id, value in self._plan.options.items():
            if option_id == "model" and self._plan.model:
                continue
            yield from self._operators_option(option_id, value)
        yield from self._model()
        yield from self._effort()

    def _mode(self) -> Iterator[_Step]:
        modes = [text(mapping(one).get("id")) for one in items(self._modes.get("availableModes"))]
        for mode in self._plan.target.modes:
            if mode in modes:
                if self._modes.get("currentModeId") != mode:
                    yield _Step("session/set_mode", {"modeId": mode}, "mode", mode, is_guard=True)
                return
        for option_id, option in self._options.items():
            if option.get("category") != "mode" and option_id != "mode":
                continue
            values = [one.get("value") for one in _values(option)]
            if found := next((mode for mode in self._plan.target.modes if mode in values), None):
                yield from self._option(option_id, found, is_guard=True)
                return
        self._require_asking(text(self._modes.get("currentModeId")))

    def _require_asking(self, mode: str) -> None:
        """Note that an agent is in a mode without questions, and has no other."""
        if self._state.config.permissions is not None and mode in FULL_AUTO_MODES:
            what = f"the agent is in the mode {mode}, and offers none in which it asks"
            self.unguarded = Error(what, "provider_error")

    def _option(self, option_id: str, value: Any, *, is_guard: bool = False) -> Iterator[_Step]:
        if self._options[option_id].get("currentValue") == value:
            return
        params: dict[str, Any] = {"configId": option_id, "value": value}
        if isinstance(value, bool):
            params["type"] = "boolean"
        shown = one_line(str(value), MAX_SHOWN_CHARS)
        yield _Step(
            "session/set_config_option", params, f"option {option_id}", shown, is_guard=is_guard
        )

    def _operators_option(self, option_id: str, value: Any) -> Iterator[_Step]:
        option = self._options.get(option_id)
        kind = bool if mapping(option).get("type") == "boolean" else str
        is_unsafe = self._state.config.permissions is not None and (
            mapping(option).get("category") == "mode" or _ASKS.search(option_id) is not None
        )
        if option is None or is_unsafe or not isinstance(value, kind):
            why = "does not offer it" if option is None else "wants another type"
            why = "has to ask for permission" if is_unsafe else why
            name = one_line(option_id, MAX_SHOWN_CHARS)
            self._events.append(Progress(f"Option {name} is left out: the agent {why}"))
            return
        yield from self._option(option_id, value)

    def _model(self) -> Iterator[_Step]:
        wanted = self._plan.model
        if not wanted:
            return
        option = self._options.get("model")
        known = (
            _values(option) if option else map(mapping, items(self._models.get("availableModels")))
        )
        key = "value" if option else "modelId"
        names = {text(one.get(key)): text(one.get("name")) for one in known}
        if not names:
            if not self._plan.names_model:
                said = f"The agent lets nobody choose its model, so {wanted} is left out"
                self._events.append(Progress(said))
            return
        found = _matching(wanted, names)
        if found is None and self._plan.names_model:
            return
        value = found or wanted
        current = option.get("currentValue") if option else self._models.get("currentModelId")
        if value == current:
            return
        method, params = (
            ("session/set_config_option", {"configId": "model", "value": value})
            if option
            else ("session/set_model", {"modelId": value})
        )
        yield _Step(method, params, "model", wanted, is_model=True)

    def _effort(self) -> Iterator[_Step]:
        level = self._state.config.reasoning_effort
        if not level:
            return
        option_id = next((one for one in _EFFORT_IDS if one in self._options), "")
        values = [text(one.get("value")) for one in _values(self._options.get(option_id, {}))]
        for name in (level, "none") if level == "off" else (level,):
            if name in values:
                if self._options[option_id].get("currentValue") == name:
                    self._state.applied_effort = level
                    return
                params = {"configId": option_id, "value": name}
                yield _Step("session/set_config_option", params, "effort", level)
                return


def _values(option: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the values of an option; they may be in groups."""
    found = []
    for one in map(mapping, items(option.get("options"))):
        found += [mapping(inner) for inner in items(one.get("options"))] or [one]
    return found


def _matching(wanted: str, names: dict[str, str]) -> str | None:
    """Return the id of a model by its id, its name, or the end of its id, if only one has it."""
    if wanted in names:
        return wanted
    rules: tuple[Callable[[str], bool], ...] = (
        lambda known: names[known].lower() == wanted.lower(),
        lambda known: known.lower() == wanted.lower(),
        lambda known: known.endswith(f"/{wanted}"),
    )
    for is_it in rules:
        found = [known for known in names if is_it(known)]
        if len(found) == 1:
            return found[0]
    return None
