"""Small things done to text before it goes into a prompt: clean, shorten, put on one line.

The texts of this package, one markdown file per template id, and how they are filled in.

Tokens: ``{{name}}`` or ``{{a.b}}`` is a variable, ``{{@template[id]}}`` another template. Both are
replaced once; what a value brings along is never looked at again, so a task that contains
``{{name}}`` shows exactly that.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from agent_swarm_worker.logs import Event, Log

_LINE_ENDS = re.compile(r"\r\n?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """Return `text` without what no prompt can carry.

    Control characters other than newline and tab go (a NUL cannot be an argument, an escape could
    drive a terminal), line ends become newlines, and halves of surrogate pairs, which have no
    UTF-8 form, become U+FFFD.
    """
    text = _LINE_ENDS.sub("\n", text)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def squeeze(text: str) -> str:
    """Return `text` with at most one blank line in a row."""
    return _BLANK_LINES.sub("\n\n", text)


def block(text: str) -> str:
    """Set `text` off by blank lines, for templates that place several values side by side."""
    return f"\n{text.strip()}\n" if text.strip() else ""


def join(*parts: str) -> str:
    """Join the parts that are not blank with a blank line each."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


Variables: TypeAlias = Mapping[str, object]

MAX_DEPTH = 3
"""How deep templates may refer to each other (docs/prompts.md)."""

_REFERENCE = re.compile(r"\{\{@template\[([^\]]+)\]\}\}")
_VARIABLE = re.compile(r"\{\{(?!@template\[)([^}]+)\}\}")


def shipped_texts(kind: str) -> Path:
    """Return the folder of our own ``prompts`` or ``skills`` texts.

    An installed wheel carries them inside the package; a checkout has them at its top level.
    """
    package = Path(str(importlib.resources.files("agent_swarm_worker")))
    installed = package / "_texts" / kind
    return installed if installed.is_dir() else package.parent / kind


class TemplateLibrary:
    """All templates of a folder, read once and put together once.

    A reference in a circle, too deep, or to nothing stays as it is, with a warning.
    """

    def __init__(self, directory: Path) -> None:
        self._bodies = {
            path.name.removesuffix(".md"): path.read_text("utf-8", errors="replace").strip("\n")
            for path in sorted(directory.glob("*.md"))
        }
        self._expanded: dict[str, str] = {}

    def __contains__(self, template_id: str) -> bool:
        return template_id in self._bodies

    def render(self, template_id: str, variables: Variables) -> str:
        """Return the template filled in; empty if there is no such template."""
        if template_id not in self._bodies:
            return ""
        if template_id not in self._expanded:
            self._expanded[template_id] = self._expand(template_id, ())
        return interpolate(self._expanded[template_id], variables)

    def _expand(self, template_id: str, trail: tuple[str, ...]) -> str:
        trail = (*trail, template_id)

        def replace(token: re.Match[str]) -> str:
            target = token[1].strip()
            if why := self._why_not(target, trail):
                Log().warning(Event.PROMPT_FALLBACK, template=trail[0], reference=target, why=why)
                return token[0]
            return f"\n{self._expand(target, trail)}\n"

        return _REFERENCE.sub(replace, self._bodies[template_id])

    def _why_not(self, target: str, trail: tuple[str, ...]) -> str:
        if target in trail:
            return "the templates refer to each other in a circle"
        if len(trail) > MAX_DEPTH:
            return f"the templates refer to each other more than {MAX_DEPTH} deep"
        return "" if self._bodies.get(target) else "there is no such template, or it is empty"


def interpolate(body: str, variables: Variables) -> str:
    """Replace each ``{{path}}`` by its value, or by nothing if there is none."""
    return _VARIABLE.sub(lambda token: _text(_look_up(variables, token[1].strip())), body)


def _look_up(variables: Variables, path: str) -> object:
    value: object = variables
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
