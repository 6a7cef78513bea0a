"""The base of all settings models, and the types of values beyond text and numbers.

A model reads nothing by itself: `SettingsModel.load` is given a mapping, so the process environment
and the same environment overlaid with configuration rows are read by the same rules. A blank value
counts as no value, as compose files and charts produce it, unless its field says otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticUseDefault
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent_swarm_worker.clock import parse_duration
from agent_swarm_worker.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pydantic.fields import FieldInfo


YES, NO = frozenset({"1", "true", "on", "yes"}), frozenset({"0", "false", "off", "no"})
"""Values of a switch."""


class Effect(StrEnum):
    """When a variable is read, and so whether a configuration row of the server changes it."""

    BOOT = "boot"
    """At the start of the worker, before its first configuration row: the environment decides."""
    LIVE = "live"
    """While the worker runs: for the next session, or the next iteration of a loop."""
    OPERATOR = "operator only"
    """From the environment of the process alone: no row may set it, for the worker or a session."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """The declaration of a variable by its field."""

    names: tuple[str, ...]
    """The variable's names, the preferred one first."""
    effect: Effect
    keeps_blank: bool = False
    """A blank value counts as a value."""
    is_checked_late: bool = False
    """A bad value fails the session that uses it, and not the start of the worker."""
    is_native: bool = False
    """The variable is the vendor's, and other programs read it: a program, credential or folder."""
    is_shared: bool = False
    """Another model owns the variable and documents it."""


def boot(*names: str, default: Any = None, **rules: Any) -> Any:
    """Declare a variable that is read at start-up; `rules` as for `live`."""
    return _declared(names, Effect.BOOT, default, rules)


def live(*names: str, default: Any = None, **rules: Any) -> Any:
    """Declare a variable whose configuration row takes effect while the worker runs.

    Args:
        names: of the variable, the preferred one first.
        default: the value without the variable.
        rules: bounds such as ``ge=1``, and the flags of `Declaration`, each as a keyword.
    """
    return _declared(names, Effect.LIVE, default, rules)


def operator_only(*names: str, default: Any = None, **rules: Any) -> Any:
    """Declare a variable that guards the operator: permissions, addresses, paths; as `live`."""
    return _declared(names, Effect.OPERATOR, default, rules)


def _declared(names: tuple[str, ...], effect: Effect, default: Any, rules: dict[str, Any]) -> Any:
    known = ("keeps_blank", "is_checked_late", "is_native", "is_shared")
    flags = {name: rules.pop(name) for name in known if name in rules}
    return Field(
        default=default,
        validation_alias=AliasChoices(*names),
        json_schema_extra={"effect": effect, **flags},
        **rules,
    )


class SettingsModel(BaseSettings):
    """Settings of one owner. Fields are documented by the text below each of them."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", validate_default=False, defer_build=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out every source that reads the process environment or files."""
        return (init_settings,)

    @classmethod
    def load(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from `env`; `BadSetting` names a variable that cannot be used."""
        found = cls._read(env)
        if isinstance(found, tuple):
            raise found[0]
        return found

    @classmethod
    def problems(cls, env: Mapping[str, str], *, early: bool = False) -> tuple[BadSetting, ...]:
        """Return an error for each bad variable; if `early`, not for those checked by a session."""
        found = cls._read(env)
        if not isinstance(found, tuple):
            return ()
        late = {
            name
            for declared in cls.declarations().values()
            for name in declared.names
            if early and declared.is_checked_late
        }
        return tuple(problem for problem in found if problem.name not in late)

    @classmethod
    def _read(cls, env: Mapping[str, str]) -> Self | tuple[BadSetting, ...]:
        source = _MappingSource(cls, env)
        try:
            return cls(_build_sources=((source,), {}))  # type: ignore[call-arg]
        except ValidationError as error:
            return _bad_settings(cls, error, source.given)

    @classmethod
    def declarations(cls) -> Mapping[str, Declaration]:
        """Return the declaration of each field's variable."""
        return _declarations(cls)

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Return the names of each field's variable, the preferred one first."""
        return {name: declared.names for name, declared in _declarations(cls).items()}


class _MappingSource(PydanticBaseSettingsSource):
    def __init__(self, model: type[SettingsModel], env: Mapping[str, str]) -> None:
        super().__init__(model)
        self.given = {
            name: value
            for declared in _declarations(model).values()
            for name in declared.names
            if (value := env.get(name)) is not None and (declared.keeps_blank or value.strip())
        }

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: `__call__` returns all values."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        """Return the values by the names of their variables."""
        return dict(self.given)


@cache
def _declarations(model: type[SettingsModel]) -> dict[str, Declaration]:
    return {name: _declaration(field) for name, field in model.model_fields.items()}


def _declaration(field: FieldInfo) -> Declaration:
    alias, extra = field.validation_alias, field.json_schema_extra
    assert isinstance(alias, AliasChoices)
    assert isinstance(extra, dict)
    return Declaration(tuple(str(choice) for choice in alias.choices), **extra)  # type: ignore[arg-type]


def _bad_settings(
    model: type[SettingsModel], error: ValidationError, given: Mapping[str, str]
) -> tuple[BadSetting, ...]:
    found = []
    for problem in error.errors():
        # The error of a rule over several fields names none: use the first given variable.
        location = str(problem["loc"][0]) if problem["loc"] else next(iter(given), model.__name__)
        names = next(
            (names for names in model.variables().values() if location in names), (location,)
        )
        name = next((name for name in names if name in given), location)
        why = str(problem["msg"]).removeprefix("Value error, ")
        found.append(BadSetting(name, given.get(name), why[:1].lower() + why[1:]))
    return tuple(found)


def process_env() -> Mapping[str, str]:
    """Return the environment of this process; the only access to it in the package."""
    return os.environ


def named(env: Mapping[str, str], name: str, default: str = "") -> str:
    """Return a variable whose name is data; one with a constant name belongs into a model."""
    return env.get(name, default)


def _flag(value: object) -> object:
    """Read ``true``/``1`` and ``false``/``0``; other values leave the default."""
    if not isinstance(value, str):
        return value
    switch = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    if switch is None:
        raise PydanticUseDefault
    return switch


def _is_yes(value: object) -> object:
    return value.strip().lower() in YES if isinstance(value, str) else value


def _is_not_no(value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.strip().lower() not in {"0", "false", "off", "no"}


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _words(value: object) -> object:
    return tuple(re.findall(r"[^\s,:]+", value)) if isinstance(value, str) else value


def _path_list(value: object) -> object:
    """Split directories as in ``PATH``; relative ones are dropped."""
    if isinstance(value, str):
        return tuple(part for part in value.split(os.pathsep) if os.path.isabs(part))  # noqa: PTH117
    return value


def _shell_words(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def json_of(text: str) -> Any:
    """Parse JSON; raises `ValueError`, also for a text that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        msg = "nested too deeply"
        raise ValueError(msg) from None


def _durations(value: object) -> object:
    """Read ``claude=45m,codex=2h``, or a JSON object; the values as for `parse_duration`."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        table = json_of(value)
    else:
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        table = {name.strip(): limit for name, _, limit in pairs}
    if not isinstance(table, dict) or "" in table:
        msg = "expected NAME=DURATION, separated by commas, or a JSON object"
        raise ValueError(msg)
    return {name: parse_duration(str(limit)) for name, limit in table.items()}


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_flag)]
MaybeFlag = Annotated[bool | None, BeforeValidator(_flag)]
YesFlag = Annotated[bool, BeforeValidator(_is_yes)]
Truthy = Annotated[bool, BeforeValidator(_is_not_no)]
CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
PathList = Annotated[tuple[str, ...], BeforeValidator(_path_list)]
ShellWords = Annotated[tuple[str, ...], BeforeValidator(_shell_words)]
Durations = Annotated[dict[str, float], BeforeValidator(_durations)]
Stripped = Annotated[str, BeforeValidator(_stripped)]
Lowered = Annotated[str, BeforeValidator(_lowered)]
