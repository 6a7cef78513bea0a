"""Look up context window and effort levels of a model in the shared catalogue, ``models.json``.

Also the vendors' APIs that several harnesses have keys for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from agent_swarm_worker.contract import Service

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Models

OPENROUTER = Service(
    variable="OPENROUTER_API_KEY",
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    base_url_variable="OPENROUTER_BASE_URL",
    small_model="google/gemini-3-flash-preview",
    rank=1,
)
ANTHROPIC = Service(
    variable="ANTHROPIC_API_KEY",
    name="anthropic",
    base_url="https://api.anthropic.com",
    base_url_variable="ANTHROPIC_BASE_URL",
    api="anthropic-messages",
    small_model="claude-haiku-4-5",
    rank=2,
)
OPENAI = Service(
    variable="OPENAI_API_KEY",
    name="openai",
    base_url="https://api.openai.com/v1",
    base_url_variable="OPENAI_BASE_URL",
    small_model="gpt-5.4-mini",
    rank=3,
)
"""The ranks are those of the public worker (docs/api.md 15.5)."""

LEVELS = ("low", "medium", "high", "xhigh", "max")
"""Reasoning effort from the least to the most; ``off`` is not one of them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the catalogue; ``None`` for a value that it does not have."""

    match: re.Pattern[str]
    window: int | None
    efforts: tuple[str, ...] | None
    source: str


@cache
def rows() -> tuple[Row, ...]:
    """Return the rows; the first match counts."""
    text = files(__name__).joinpath("models.json").read_text(encoding="utf-8")
    return tuple(
        Row(
            match=re.compile(entry["match"]),
            window=entry.get("window"),
            efforts=tuple(entry["efforts"]) if "efforts" in entry else None,
            source=entry["source"],
        )
        for entry in json.loads(text)["models"]
    )


def context_window(model: str, models: Models | None = None) -> int | None:
    """Return a model's context window in tokens; ``None`` if it is unknown.

    `models`, of the spec of the harness that runs it, go before the catalogue.
    """
    name = plain_name(model)
    if models is not None:
        for pattern, window in models.windows:
            if re.search(pattern, name):
                return window
        if not models.uses_catalog:
            return None
    return next((row.window for row in rows() if row.window and row.match.search(name)), None)


def effort_levels(model: str) -> tuple[str, ...] | None:
    """Return a model's levels of reasoning effort; ``None`` if they are unknown."""
    name = plain_name(model)
    known = (row for row in rows() if row.efforts is not None)
    return next((row.efforts for row in known if row.match.search(name)), None)


def lowered_effort(level: str, levels: tuple[str, ...]) -> str | None:
    """Return the highest of `levels` up to `level`; ``None`` if there is none."""
    if level in levels:
        return level
    if level not in LEVELS:
        return None
    below = LEVELS[: LEVELS.index(level)]
    return next((it for it in reversed(below) if it in levels), None)


def plain_name(model: str) -> str:
    """Return a model's name in lower case without its vendor's prefix."""
    return model.strip().lower().rpartition("/")[2]
