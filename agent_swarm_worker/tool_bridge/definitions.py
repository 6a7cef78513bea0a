"""Read the operator's file of tools: `load_tools`.

A tool is a command or an HTTP endpoint with a name, a description and a JSON Schema of its
arguments. The file is the operator's; no configuration row names another one.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agent_swarm_worker.errors import BadSetting, MissingExtra
from agent_swarm_worker.files import read_whole
from agent_swarm_worker.json_schema import BadSchema, JsonSchema
from agent_swarm_worker.settings.base import CommaList, SettingsModel, operator_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

FILE_VARIABLE = "SWARM_TOOLS_FILE"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,47}")
"""The model's vendors accept 64 characters, with a prefix that harnesses add."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


class ToolSettings(SettingsModel):
    """The tools of the operator's own (docs/tools.md)."""

    # --- the operator's tools
    tools_file: Path | None = operator_only(FILE_VARIABLE)
    """TOML file of tools that every harness is offered ([tools.md](tools.md))."""
    task_choices: CommaList = operator_only("SWARM_TOOLS_TASK_CHOICES", default=())
    """Names of tools with ``offered = "selected"`` that the tag ``tool:NAME`` of a task selects."""


def _words(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


class ToolDefinition(BaseModel):
    """One tool: a command or an HTTP endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = Field(min_length=1, max_length=10_000)
    """For the model: what the tool does, and when to use it."""
    input: dict[str, Any] = Field(default_factory=lambda: dict(_NOTHING))
    """JSON Schema (draft 2020-12) of the arguments, an object."""
    command: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Program and arguments, run in the session's sandbox and directory. The arguments of the call
    are JSON on standard input, and replace ``{name}`` in these words."""
    env: dict[str, str] = Field(default_factory=dict)
    """Further variables of the command; ``${NAME}`` is a variable of the worker."""
    url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Address of an HTTP endpoint instead; ``{name}`` in its path and query is an argument."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of the request; ``${NAME}`` is a variable of the worker."""
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    max_output: int = Field(default=65_536, ge=1, le=4 << 20)
    """Bytes of the result that the model gets."""
    offered: Literal["always", "selected"] = "always"
    """``selected``: only if a harness profile or the tag of a task names it."""
    example: dict[str, Any] | None = None
    """Arguments with which ``swarm-worker tools check`` calls it."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("expected either `command` or `url`")
        if self.command and (not self.command[0] or "{" in self.command[0]):
            raise ValueError("the program of `command` must be a fixed name")
        if self.command and "/" in self.command[0] and not self.command[0].startswith("/"):
            raise ValueError(
                "the program of `command` must be an absolute path or a name on the PATH:"
                " a session's directory is the agent's"
            )
        if self.url and (self.env or "{" in self.url.split("/", 3)[2]):
            raise ValueError("`env` is for commands, and the host of `url` must be fixed")
        if self.command and self.headers:
            raise ValueError("`headers` are for a `url`")
        properties = self.input.get("properties", {})
        if not isinstance(properties, dict):
            msg = "the properties of `input` are no table"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports it
        unknown = self.placeholders - set(properties)
        if unknown:
            raise ValueError(f"`input` has no property {', '.join(sorted(unknown))}")
        return self

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of arguments in the command or the URL."""
        texts = self.command or (self.url,)
        return frozenset(found[1] for text in texts for found in _PLACEHOLDER.finditer(text))

    @property
    def variables(self) -> frozenset[str]:
        """The names of the worker's variables that it needs."""
        texts = (*self.env.values(), *self.headers.values())
        return frozenset(found[1] for text in texts for found in _VARIABLE.finditer(text))

    def unset(self, variables: Mapping[str, str]) -> str:
        """Return the names of its variables that have no value, for people."""
        return ", ".join(sorted(name for name in self.variables if not variables.get(name)))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tools: dict[str, ToolDefinition] = Field(default_factory=dict)


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace each ``${NAME}`` of a text."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def with_arguments(text: str, arguments: Mapping[str, str]) -> str:
    """Replace each ``{name}`` of a text; an argument that was not given is empty."""
    return _PLACEHOLDER.sub(lambda found: arguments.get(found[1], ""), text)


def load_tools(path: Path) -> tuple[ToolDefinition, ...]:
    """Return the tools of a file.

    Raises:
        UnreadableFile: it cannot be read.
        BadSetting: it is no file of tools; the message names the key, and what was expected.
    """
    try:
        document = tomllib.loads(read_whole(path).decode("utf-8-sig"))
        found = _File.model_validate(document)
    except ValidationError as error:
        raise BadSetting(FILE_VARIABLE, str(path), _problem(error)) from None
    except (ValueError, RecursionError) as error:  # no TOML, or not UTF-8
        raise BadSetting(FILE_VARIABLE, str(path), " ".join(str(error).split())) from None
    tools = tuple(tool.model_copy(update={"name": name}) for name, tool in found.tools.items())
    for why in _faults(tools):
        raise BadSetting(FILE_VARIABLE, str(path), why)
    return tools


def check_tools(env: Mapping[str, str]) -> None:
    """Raise a `ConfigError` if the operator's tools cannot be offered."""
    path = ToolSettings.load(env).tools_file
    if path is not None:
        require_extra()
        load_tools(path)


def require_extra() -> None:
    """Raise `MissingExtra` if the libraries of the server are not installed."""
    if find_spec("mcp") is None or find_spec("uvicorn") is None:
        raise MissingExtra(FILE_VARIABLE, "tools")


def _faults(tools: tuple[ToolDefinition, ...]) -> Iterator[str]:
    for tool in tools:
        if not NAME.fullmatch(tool.name):
            yield (
                f"tools.{tool.name}: a name begins with a letter, and has at most 48 letters,"
                " digits, `-` and `_`"
            )
        try:
            orjson.dumps(tool.input)
            JsonSchema(tool.input).mismatch(tool.example or {})
        except (BadSchema, TypeError) as error:
            yield f"tools.{tool.name}.input is no JSON Schema that can be used: {error}"
        if away := _references_away(tool.input):
            yield f"tools.{tool.name}.input: {away} does not refer to a part of the schema"
        if tool.input.get("type") != "object":
            yield f"tools.{tool.name}.input: arguments are an object, so its type is `object`"


def _references_away(schema: Any) -> str:
    """Return a ``$ref`` of a schema that leads out of it, which would fail every call."""
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str) and not target.startswith("#"):
            return repr(target)
    parts = schema.values() if isinstance(schema, dict) else schema
    found = map(_references_away, parts) if isinstance(schema, dict | list) else ()
    return next(filter(None, found), "")


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"]]
    where, why = ".".join(keys) or "the file", first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        fields = [name for name in ToolDefinition.model_fields if name != "name"]
        known = fields if len(keys) > 1 else ["tools"]
        near = get_close_matches(keys[-1], known, n=1)
        why = f"unknown key; did you mean {near[0]}?" if near else "unknown key"
    return f"{where}: {why}"
