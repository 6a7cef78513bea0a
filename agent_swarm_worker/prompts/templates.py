"""The texts of this package, one markdown file per template id, and how they are filled in.

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

Variables: TypeAlias = Mapping[str, object]

MAX_DEPTH = 3
"""How deep templates may refer to each other (prompt reference section 1.8)."""

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
    """All templates of a folder, read once."""

    def __init__(self, directory: Path) -> None:
        self._bodies = {
            path.name.removesuffix(".md"): path.read_text(encoding="utf-8").strip("\n")
            for path in sorted(directory.glob("*.md"))
        }

    def __contains__(self, template_id: str) -> bool:
        return template_id in self._bodies

    def render(self, template_id: str, variables: Variables) -> str:
        """Return the template filled in; empty if there is no such template."""
        body = self._expand(self._bodies.get(template_id, ""), (template_id,))
        return interpolate(body, variables)

    def _expand(self, body: str, trail: tuple[str, ...]) -> str:
        if len(trail) > MAX_DEPTH:
            return body

        def replace(token: re.Match[str]) -> str:
            target = token[1].strip()
            if target in trail or not self._bodies.get(target):
                return token[0]
            return f"\n{self._expand(self._bodies[target], (*trail, target))}\n"

        return _REFERENCE.sub(replace, body)


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
