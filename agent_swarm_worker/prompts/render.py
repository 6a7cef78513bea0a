"""Render templates: from the server, where operators can customise them, else from the package.

The parts of a prompt are rendered concurrently, and answers are cached, since most are the same for
every task. After a failure the rest of the same prompt uses the package's texts, so a server that
does not answer costs a prompt one time limit.

A template is one markdown file per id. Its tokens: ``{{name}}`` or ``{{a.b}}`` is a variable,
``{{@template[id]}}`` another template. Both are replaced once; inserted values are not scanned
again, so a task that contains ``{{name}}`` shows exactly that.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import anyio
import orjson

from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing, Unauthorized
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.api.resources import Resources
    from agent_swarm_worker.clock import Clock

Variables: TypeAlias = Mapping[str, object]

MAX_DEPTH = 3
"""How deep templates may refer to each other (docs/prompts.md)."""

_REFERENCE = re.compile(r"\{\{@template\[([^\]]+)\]\}\}")
_VARIABLE = re.compile(r"\{\{(?!@template\[)([^}]+)\}\}")
_LINE_ENDS = re.compile(r"\r\n?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")
_MAX_CACHED = 64
_MAX_CACHED_CHARS = 64 * 1024


class TemplateLibrary:
    """All templates of a folder; each is read once, and its references are expanded once.

    A circular, too deep or dangling reference stays in the text, with a warning in the log.
    """

    def __init__(self, directory: Path) -> None:
        self._bodies = {
            path.name.removesuffix(".md"): path.read_text("utf-8-sig", errors="replace").strip("\n")
            for path in sorted(directory.glob("*.md"))
        }
        self._expanded: dict[str, str] = {}

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
        if value is None or isinstance(value, str):
            return value or ""
        return json.dumps(value, ensure_ascii=False, default=str)

    return _VARIABLE.sub(value_of, body)


@dataclass(frozen=True, slots=True)
class Part:
    """One template to render, with the values of its variables."""

    template_id: str
    variables: Mapping[str, str] = field(default_factory=dict)


class Renderer:
    """Makes a `PromptBuild` per prompt; owns the templates, the server client and the cache.

    Without `server`, only `library` is used. `timeout_s` is the limit of each request to the
    server; its answers are reused for `cache_s`, and for `unknown_s` that it has no such template.
    """

    def __init__(
        self,
        library: TemplateLibrary,
        *,
        clock: Clock,
        server: Resources | None = None,
        agent_id: str | None = None,
        timeout_s: float = 5.0,
        cache_s: float = 60.0,
        unknown_s: float = 600.0,
    ) -> None:
        self.library, self.server, self.agent_id = library, server, agent_id
        self.timeout_s = timeout_s
        self._clock, self._cache_s = clock, cache_s
        self._cache: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._unknown_s = unknown_s
        self._unknown: dict[str, float] = {}
        """Templates that the server does not have, and until when that is believed."""

    def build(self) -> PromptBuild:
        """Start a prompt."""
        return PromptBuild(self)

    def cached(self, key: bytes) -> str | None:
        """Return a cached answer."""
        expires, text = self._cache.get(key, (0.0, ""))
        return text if self._clock.monotonic() < expires else None

    def is_unknown(self, template_id: str) -> bool:
        """True if the server said lately that it has no such template."""
        return self._clock.monotonic() < self._unknown.get(template_id, 0.0)

    def store_unknown(self, template_id: str) -> None:
        """Remember that the server has no such template."""
        self._unknown[template_id] = self._clock.monotonic() + self._unknown_s

    def store(self, key: bytes, text: str) -> None:
        """Cache an answer, unless it is large: large texts contain a task and are not reused."""
        if len(text) > _MAX_CACHED_CHARS:
            return
        self._cache[key] = (self._clock.monotonic() + self._cache_s, text)
        self._cache.move_to_end(key)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)


class PromptBuild:
    """Renders the parts of one prompt; stops asking the server after its first failure."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._ask_server = renderer.server is not None
        self._log = Log()

    async def text(self, template_id: str, variables: Mapping[str, str] | None = None) -> str:
        """Return one part; empty if an operator has switched it off."""
        [text] = await self.texts([Part(template_id, variables or {})])
        return text

    async def required(self, template_id: str, variables: Mapping[str, str]) -> str:
        """Return a part that must not be empty: the package's text if the server's is blank."""
        text = (await self.text(template_id, variables)).strip()
        return text or self._renderer.library.render(template_id, variables).strip()

    async def texts(self, parts: Sequence[Part]) -> list[str]:
        """Return all the parts, rendered concurrently, in the given order."""
        results = [""] * len(parts)

        async def fill(index: int, part: Part) -> None:
            # Values come from tasks, profiles and paths, and may hold text that JSON cannot carry.
            values = {name: clean(value) for name, value in part.variables.items()}
            text = await self._remote(part.template_id, values)
            if text is None:
                text = self._renderer.library.render(part.template_id, values)
            results[index] = text

        async with anyio.create_task_group() as tasks:
            for index, part in enumerate(parts):
                tasks.start_soon(fill, index, part)
        return results

    async def _remote(self, template_id: str, variables: Mapping[str, str]) -> str | None:
        """Return the server's text; ``None``: use the package's."""
        server = self._renderer.server
        if server is None or not self._ask_server or self._renderer.is_unknown(template_id):
            return None
        values = orjson.dumps(variables, option=orjson.OPT_SORT_KEYS)
        key = hashlib.sha256(template_id.encode() + b"\0" + values).digest()
        if (cached := self._renderer.cached(key)) is not None:
            return cached
        try:
            with anyio.fail_after(self._renderer.timeout_s):
                answer = await server.render_template(
                    template_id, variables, agent_id=self._renderer.agent_id
                )
        except (ApiError, TimeoutError) as error:
            self._fall_back(template_id, error)
            return None
        if answer is None:
            self._renderer.store_unknown(template_id)
            return None
        text = "" if answer.skipped else answer.text
        self._renderer.store(key, text)
        return text

    def _fall_back(self, template_id: str, error: ApiError | TimeoutError) -> None:
        affects_this_part_only = (
            isinstance(error, ApiRefused)
            and not isinstance(error, (RouteMissing, Unauthorized))
            and not error.is_server_fault
        )
        if affects_this_part_only or self._ask_server:
            why = str(error) or f"no answer within {self._renderer.timeout_s:g} s"
            self._log.warning(Event.PROMPT_FALLBACK, template=template_id, why=why)
        if affects_this_part_only and isinstance(error, ApiRefused) and error.status == 404:
            self._renderer.store_unknown(template_id)
        if not affects_this_part_only:
            self._ask_server = False


# --- texts


def shipped_texts(kind: str) -> Path:
    """Return the folder of the package's ``prompts`` or ``skills``, in a wheel or a checkout."""
    package = Path(str(importlib.resources.files("agent_swarm_worker")))
    installed = package / "_texts" / kind
    return installed if installed.is_dir() else package.parent / kind


def clean(text: str) -> str:
    """Return `text` without characters that a prompt cannot carry.

    Control characters other than newline and tab are removed (a NUL cannot be an argument, an
    escape could drive a terminal). Line ends become newlines, lone surrogates U+FFFD.
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
