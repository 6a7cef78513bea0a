"""Writes ``configuration.md`` from `agent_swarm_worker.settings`; run it after changing a setting.

A test compares the page with what this would write.
"""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from agent_swarm_worker import settings
from agent_swarm_worker.settings import Settings, variables
from agent_swarm_worker.worker.environment import NEVER_OVERLAID, NEVER_OVERLAID_PREFIXES

TARGET = Path(__file__).with_name("configuration.md")

HEAD = """\
# Configuration

<!-- Made from agent_swarm_worker/settings.py by docs/generate_configuration.py; do not edit. -->

Every variable of the worker. A blank value counts as no value; only an empty `AGENT_SWARM_API_KEY`
still hides `API_KEY`. A value that cannot be used ends the start with exit code 78 and names the
variable. Switches take `true`/`1` and `false`/`0`; anything else leaves the default.

The swarm's configuration rows overlay these variables, but for
{never}.
A row for a variable marked *live* takes effect while the worker runs: for the next session, or the
next round of a loop. The others are read at the start. A row whose value cannot be used is passed
over.

All variables, those of this page and any other, are handed on to the harness. Which ones a harness
looks at by itself (credentials, `CLAUDE_BINARY`, …) is said in [harnesses.md](harnesses.md).
"""
_KINDS: dict[Any, str] = {
    str: "text",
    Path: "path",
    bool: "switch",
    tuple: "list",
    dict: "list",
    int: "number",
    float: "number",
}
_UNITS = {"_ms": "milliseconds", "_s": "seconds", "_tokens": "tokens"}
_BOUNDS = {"gt": "> {}", "ge": "≥ {}", "le": "≤ {}"}


def page() -> str:
    """Return the page."""
    source = inspect.getsource(settings)
    texts = _docstrings(source)
    never = sorted({*NEVER_OVERLAID, *(f"{prefix}*" for prefix in NEVER_OVERLAID_PREFIXES)})
    parts = [HEAD.format(never=", ".join(f"`{name}`" for name in never))]
    for title, names in _groups(source):
        rows = "\n".join(_row(name, texts.get(name, "")) for name in names)
        heading = f"## {title[0].upper()}{title[1:]}"
        parts.append(f"{heading}\n\n| variable | value | default | |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _docstrings(source: str) -> dict[str, str]:
    """Return the text under each field of the model, on one line."""
    (model,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(model.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
    }


def _groups(source: str) -> list[tuple[str, list[str]]]:
    """Return the fields below each ``# ---`` comment that has any."""
    _, *pieces = re.split(r"^    # --- (.+)$", source, flags=re.MULTILINE)
    groups = []
    for title, text in zip(pieces[::2], pieces[1::2], strict=True):
        names = re.findall(r"^    (\w+):", text, re.MULTILINE)
        groups.append((title, [name for name in names if name in Settings.model_fields]))
    return [(title, names) for title, names in groups if names]


def _row(name: str, text: str) -> str:
    field = Settings.model_fields[name]
    names = ", ".join(f"`{variable}`" for variable in variables()[name])
    extra = field.json_schema_extra
    live = "*live*. " if isinstance(extra, dict) and extra.get("live") else ""
    words = live + re.sub(r"``(.+?)``", r"`\1`", re.sub(r" \(API reference .+?\)", "", text))
    cells = (names, _value(name), _default(field.default), words)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(name: str) -> str:
    """Say what may be given: the kind, the unit, the bounds."""
    field = Settings.model_fields[name]
    kind = field.annotation
    if NoneType in get_args(kind):
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    words = unit or _KINDS[get_origin(kind) or kind]
    rules = [
        text.format(f"{limit:g}" if limit < 1e6 else f"{limit}")
        for rule in field.metadata
        for attribute, text in _BOUNDS.items()
        if (limit := getattr(rule, attribute, None)) is not None
    ]
    return " ".join([words, *rules])


def _default(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{value}`".lower() if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
