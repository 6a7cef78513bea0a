"""The kinds of values a setting may have that are more than a text or a number."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticUseDefault

from agent_swarm_worker.clock import seconds_of


def _flag(value: object) -> object:
    """``true``/``1`` and ``false``/``0`` count; anything else leaves the default."""
    if not isinstance(value, str):
        return value
    switch = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    if switch is None:
        raise PydanticUseDefault
    return switch


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _durations(value: object) -> object:
    """``claude=45m,codex=2h``, or a JSON object; the values as `seconds_of` reads them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        table = json.loads(value)
    else:
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        table = {name.strip(): limit for name, _, limit in pairs}
    if not isinstance(table, dict) or "" in table:
        msg = "expected NAME=DURATION, separated by commas, or a JSON object"
        raise ValueError(msg)
    return {name: seconds_of(str(limit)) for name, limit in table.items()}


Flag = Annotated[bool, BeforeValidator(_flag)]
MaybeFlag = Annotated[bool | None, BeforeValidator(_flag)]
CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Durations = Annotated[dict[str, float], BeforeValidator(_durations)]
