"""Fill in prompt templates, and clean and shorten text that goes into a prompt.

A template is one markdown file per id. Its tokens: ``{{name}}`` or ``{{a.b}}`` is a variable,
``{{@template[id]}}`` another template. Both are replaced once; inserted values are not scanned
again, so a task that contains ``{{name}}`` shows exactly that.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from agent_swarm_worker.logs import Event, Log

Variables: TypeAlias = Mapping[str, object]

MAX_DEPTH = 3
"""How deep templates may refer to each other (docs/prompts.md)."""

_REFERENCE = re.compile(r"\{\{@template\[([^\]]+)\]\}\}")
_VARIABLE = re.compile(r"\{\{(?!@template\[)([^}]+)\}\}")
_LINE_ENDS = re.compile(r"\r\n?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")


def shipped_texts(kind: str) -> Path:
    """Return the folder of the package's own ``prompts`` or ``skills`` texts.

    An installed wheel carries them inside the package; a checkout has them at its top level.
    """
    package = Path(str(importlib.resources.files("agent_swarm_worker")))
    installed = package / "_texts" / kind
    return installed if installed.is_dir() else package.parent / kind


class TemplateLibrary:
    """All templates of a folder; each is read once, and its references are expanded once.

    A circular, too deep or dangling reference stays in the text, with a warning in the log.
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
            if why := self._reference_fault(target, trail):
                Log().warning(Event.PROMPT_FALLBACK, template=trail[0], reference=target, why=why)
                return token[0]
            return f"\n{self._expand(target, trail)}\n"

        return _REFERENCE.sub(replace, self._bodies[template_id])

    def _reference_fault(self, target: str, trail: tuple[str, ...]) -> str:
        if target in trail:
            return "the templates refer to each other in a circle"
        if len(trail) > MAX_DEPTH:
            return f"the templates refer to each other more than {MAX_DEPTH} deep"
        return "" if self._bodies.get(target) else "there is no such template, or it is empty"


def interpolate(body: str, variables: Variables) -> str:
    """Replace each ``{{path}}`` by its value; by nothing if there is none."""

    def value_of(token: re.Match[str]) -> str:
        value: object = variables
        for key in token[1].strip().split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return ""
        return (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        )

    return _VARIABLE.sub(value_of, body)


def clean(text: str) -> str:
    """Return `text` without characters that a prompt cannot carry.

    Control characters other than newline and tab are removed (a NUL cannot be an argument, an
    escape could drive a terminal), line ends become newlines, and lone surrogates, which have no
    UTF-8 form, become U+FFFD.
    """
    text = _LINE_ENDS.sub("\n", text)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def squeeze(text: str) -> str:
    """Return `text` with at most one blank line in a row."""
    return _BLANK_LINES.sub("\n\n", text)


def block(text: str) -> str:
    """Put a line break before and after `text`, unless it is blank."""
    return f"\n{text.strip()}\n" if text.strip() else ""


def join(*parts: str) -> str:
    """Join the parts that are not blank, with a blank line between two."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())
