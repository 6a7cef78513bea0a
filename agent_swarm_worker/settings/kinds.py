"""The kinds of values a setting may have that are more than a text or a number."""

from __future__ import annotations

import json
import os
import shlex
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticUseDefault

from agent_swarm_worker.clock import seconds_of

_YES = frozenset({"1", "true", "on", "yes"})


def _flag(value: object) -> object:
    """``true``/``1`` and ``false``/``0`` count; anything else leaves the default."""
    if not isinstance(value, str):
        return value
    switch = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    if switch is None:
        raise PydanticUseDefault
    return switch


def _is_yes(value: object) -> object:
    """``1``, ``true``, ``on`` and ``yes`` turn it on; anything else does not."""
    return value.strip().lower() in _YES if isinstance(value, str) else value


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _path_list(value: object) -> object:
    """Directories as in ``PATH``; those that are not absolute are left out."""
    if isinstance(value, str):
        return tuple(part for part in value.split(os.pathsep) if os.path.isabs(part))  # noqa: PTH117
    return value


def _shell_words(value: object) -> object:
    """Split a command line as a shell splits words."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _durations(value: object) -> object:
    """``claude=45m,codex=2h``, or a JSON object; the values as `seconds_of` reads them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            table = json.loads(value)
        except RecursionError:
            msg = "nested too deeply"
            raise ValueError(msg) from None
    else:
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        table = {name.strip(): limit for name, _, limit in pairs}
    if not isinstance(table, dict) or "" in table:
        msg = "expected NAME=DURATION, separated by commas, or a JSON object"
        raise ValueError(msg)
    return {name: seconds_of(str(limit)) for name, limit in table.items()}


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_flag)]
MaybeFlag = Annotated[bool | None, BeforeValidator(_flag)]
YesFlag = Annotated[bool, BeforeValidator(_is_yes)]
CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
PathList = Annotated[tuple[str, ...], BeforeValidator(_path_list)]
ShellWords = Annotated[tuple[str, ...], BeforeValidator(_shell_words)]
Durations = Annotated[dict[str, float], BeforeValidator(_durations)]
Stripped = Annotated[str, BeforeValidator(_stripped)]
Lowered = Annotated[str, BeforeValidator(_lowered)]
