"""The keys of a variant and of a tool server, and what is wrong with given values.

No message has a value in it: there may be secrets among them.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args, get_origin

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from agent_swarm_worker.guards.permissions.policy import PermissionSettings  # noqa: TC001 - pydantic reads it
from agent_swarm_worker.harness_profiles.files import Path_, kind_of
from agent_swarm_worker.harness_profiles.names import nearest
from agent_swarm_worker.settings import EFFORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from agent_swarm_worker.settings import HarnessOptions

MAX_VARIABLE_BYTES = 128 * 1024 - 256
"""Linux starts no process with a longer variable, its name included."""
MAX_PROBLEMS = 100
"""Named of one table."""
SANDBOXES = ("local",)
"""Where sessions can run."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A variable in a value of a tool server."""
OF_THE_WORKER = frozenset(
    {
        *("AGENT_ID", "AGENT_SWARM_AGENT_ID", "AGENT_SWARM_KEEPER", "AGENT_SWARM_SESSION"),
        *("AGENT_SWARM_TASK_ID", "HARNESS_PROFILE", "HARNESS_PROFILE_TASK_CHOICES"),
        *("HARNESS_PROVIDER", "MCP_BASE_URL", "SWARM_HARNESS_PROFILES"),
        *("SWARM_APPROVAL_TIMEOUT_S", "SWARM_PERMISSIONS", "SWARM_PERMISSION_RULES"),
        "SWARM_RUNTIME_INSTANCE_ID",
    }
)
"""Variables that the worker sets for each session, or that say how it is run."""
Problem: TypeAlias = tuple[Path_, str]
"""Where in a table something is wrong, and how."""


def _variable_text(value: str) -> str:
    if "\0" in value or len(value.encode("utf-8", "surrogatepass")) > MAX_VARIABLE_BYTES:
        msg = "too long for a variable, or a null byte in it"
        raise ValueError(msg)
    return value


def _variable_name(value: str) -> str:
    if not value or "=" in value or "\0" in value:
        msg = "no name of a variable"
        raise ValueError(msg)
    if value.upper() in OF_THE_WORKER:
        msg = f"the worker does not take {value} from here"
        raise ValueError(msg)
    return value


def _command_line(value: str) -> str:
    try:
        words = shlex.split(_variable_text(value))
    except ValueError as error:
        raise ValueError(str(error).lower()) from None
    if not words:
        msg = "expected a command line"
        raise ValueError(msg)
    return value


def _available(value: object) -> object:
    if isinstance(value, str) and value not in SANDBOXES:
        msg = f"not available here; there is {', '.join(SANDBOXES)}"
        raise ValueError(msg)
    return value


Text: TypeAlias = Annotated[str, AfterValidator(_variable_text)]
CommandLine: TypeAlias = Annotated[str, AfterValidator(_command_line)]
Environment: TypeAlias = dict[Annotated[str, AfterValidator(_variable_name)], Text]
Sandbox: TypeAlias = Annotated[str, BeforeValidator(_available)]


class Variant(BaseModel):
    """One variant of a harness; every key is optional."""

    model_config = ConfigDict(extra="forbid", strict=True)

    extends: str | None = None
    options: dict[str, Any] = {}
    model: Text | None = None
    effort: Literal["off", "low", "medium", "high", "xhigh", "max"] | None = None
    command: CommandLine | None = None
    args: list[Text] = []
    append_prompt: str = ""
    env: Environment = {}
    permissions: PermissionSettings | None = None
    sandbox: Sandbox = "local"
    setup: Text | None = None
    cleanup: Text | None = None
    mcp: list[str] = []
    tools: list[str] | None = None


assert get_args(get_args(Variant.model_fields["effort"].annotation)[0]) == EFFORTS


class Needs(BaseModel):
    """What a tool server needs besides the variables that its values name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    variables: list[str] = []
    programs: list[str] = []


class CatalogueServer(BaseModel):
    """One tool server (MCP) of the catalogue: a command, or a URL."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = ""
    command: CommandLine | None = None
    args: list[Text] = []
    env: dict[str, Text] = {}
    url: str | None = Field(default=None, min_length=1)
    transport: Literal["http", "sse"] = "http"
    headers: dict[str, str] = {}
    needs: Needs = Needs()
    required: bool = False
    """A session that cannot have it fails, instead of running without it."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that it needs: those it declares, and those in its values."""
        values = (self.url or "", *self.args, *self.env.values(), *self.headers.values())
        used = (name for value in values for name in REFERENCE.findall(value))
        return tuple(dict.fromkeys((*self.needs.variables, *used)))

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that it needs."""
        own = shlex.split(self.command or "")[:1]
        return tuple(dict.fromkeys((*own, *self.needs.programs)))

    @model_validator(mode="after")
    def _is_one_kind(self) -> CatalogueServer:
        if (self.command is None) == (self.url is None):
            msg = "expected either command or url"
            raise ValueError(msg)
        strange = {"args", "env"} if self.url else {"headers", "transport"}
        if wrong := sorted(strange & self.model_fields_set):
            msg = f"{wrong[0]} belongs to a server with {'command' if self.url else 'url'}"
            raise ValueError(msg)
        return self


def problems_of(model: type[BaseModel], value: Any) -> Iterator[Problem]:
    """Yield what is wrong with a table."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        for found in error.errors(include_url=False)[:MAX_PROBLEMS]:
            path = tuple(step for step in found["loc"] if not _OF_A_TYPE.match(str(step)))
            yield path, _why(model, found)


_OF_A_TYPE = re.compile(r"\[key\]|(?:tuple|constrained|literal|function)[\[-]")
"""Steps of a place that name no key but a type."""
_EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
}


def _why(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        known = _keys_at(model, error["loc"][:-1])
        return f"unknown key{nearest(str(error['loc'][-1]), known)}; known are {', '.join(known)}"
    if kind == "literal_error":
        return f"expected {error['ctx']['expected']}, found {_shown(value)}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {kind_of(value)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _keys_at(model: type[BaseModel], path: Iterable[Any]) -> list[str]:
    for step in path:
        field = model.model_fields.get(str(step))
        model = next(_models_in(field.annotation), model) if field else model
    return sorted(model.model_fields)


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _models_in(part)


def _shown(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else kind_of(value)


# --- the options of a harness
def option_fields(options: type[HarnessOptions]) -> list[str]:
    """Return the fields of a harness's own options."""
    return sorted(name for name, it in options.declarations().items() if not it.is_shared)


def option_variables(
    options: type[HarnessOptions], values: Mapping[str, Any]
) -> tuple[dict[str, str], list[Problem]]:
    """Return the variables that hold these options, and what is wrong with them."""
    variables: dict[str, str] = {}
    problems: list[Problem] = []
    names, known = options.variables(), option_fields(options)
    for field, value in values.items():
        if field not in known:
            hint = f"unknown option{nearest(field, known)}; known are {', '.join(known) or 'none'}"
            problems.append(((field,), hint))
            continue
        text, why = _text_of(options, field, value)
        if why or text is None:
            problems.append(((field,), why))
        else:
            variables |= dict.fromkeys(names[field], "") if not text.strip() else {}
            variables[names[field][0]] = text
    for bad in options.problems(variables):
        wrong = next((name for name, them in names.items() if bad.name in them), bad.name)
        problems.append(((wrong,), bad.why))
    return variables, problems


_KINDS: dict[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    tuple: ((list, str), "a list, or text"),
    dict: ((dict, str), "a table, or text"),
}
"""By the type of an option: the types of its value in a file, and how they are called."""


def _text_of(options: type[HarnessOptions], field: str, value: Any) -> tuple[str | None, str]:
    """Return the text of a variable with this value, or why there is none."""
    kind: Any = options.model_fields[field].annotation
    if type(None) in get_args(kind):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    wanted, text = _KINDS.get(get_origin(kind) or kind, (str, "text"))
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        return None, f"expected {text}, found {kind_of(value)}"
    if isinstance(value, list):
        return _joined(options, field, value)
    if isinstance(value, dict):
        return _dumped(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return _variable_text(text), ""
    except ValueError as error:
        return None, str(error)


def _joined(options: type[HarnessOptions], field: str, items: list[Any]) -> tuple[str | None, str]:
    """Join a list so that the option reads the same items again."""
    if not all(isinstance(item, str) for item in items):
        return None, "expected a list of texts"
    name = options.variables()[field][0]
    ways: tuple[Callable[[list[str]], str], ...] = (
        shlex.join,
        ",".join,
        os.pathsep.join,
        lambda them: orjson.dumps(them).decode(),
    )
    for way in ways:
        text = way(items)
        if not options.problems({name: text}):
            read = getattr(options.load({name: text}), field)
            if list(read) == items:
                return text, ""
    return None, "expected a list that the variable can hold"


def _dumped(table: dict[str, Any]) -> tuple[str | None, str]:
    try:
        return orjson.dumps(table).decode(), ""
    except (TypeError, orjson.JSONEncodeError):
        return None, "expected a table that JSON can hold"
