"""Rendering a template: the server's text first, so that operators can customise it, else ours.

A prompt has up to eight parts. They are rendered concurrently, and answers are kept for a minute,
since most parts are the same for every task. If the server does not answer, one time limit is all
that a prompt loses: the first failure sends the rest of the same build to the local texts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio
import orjson

from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing, Unauthorized
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.prompts.texts import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.resources import Rendered
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.prompts.texts import TemplateLibrary

_MAX_CACHED = 64
_MAX_CACHED_CHARS = 64 * 1024


class TemplateSource(Protocol):
    """The server, as far as rendering goes; `api.resources` is one. Raises `ApiError`."""

    async def render_template(
        self, event_type: str, variables: Mapping[str, str], *, agent_id: str | None = None
    ) -> Rendered | None:
        """Ask for one template; ``None`` if the server does not know it."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One template to render and what goes into it."""

    template_id: str
    variables: Mapping[str, str] = field(default_factory=dict)


class Renderer:
    """Makes builds; holds what outlives one: the texts, the server, the cache."""

    def __init__(
        self,
        library: TemplateLibrary,
        *,
        clock: Clock,
        source: TemplateSource | None = None,
        agent_id: str | None = None,
        timeout_s: float = 5.0,
        cache_s: float = 60.0,
    ) -> None:
        """Set up rendering.

        Args:
            library: our own texts.
            clock: tells when a cached answer is too old.
            source: the server; without it all texts are ours.
            agent_id: so that templates customised for this agent apply.
            timeout_s: how long to wait for the server, per build.
            cache_s: how long an answer of the server is used again.
        """
        self.library, self.source, self.agent_id = library, source, agent_id
        self.timeout_s = timeout_s
        self._clock, self._cache_s = clock, cache_s
        self._cache: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def build(self) -> PromptBuild:
        """Start a prompt. Use one build for all the parts of one task."""
        return PromptBuild(self)

    def cached(self, key: bytes) -> str | None:
        """Return a kept answer that is still fresh."""
        expires, text = self._cache.get(key, (0.0, ""))
        return text if self._clock.monotonic() < expires else None

    def keep(self, key: bytes, text: str) -> None:
        """Keep an answer, unless it is one of a kind: large texts carry a task."""
        if len(text) > _MAX_CACHED_CHARS:
            return
        self._cache[key] = (self._clock.monotonic() + self._cache_s, text)
        self._cache.move_to_end(key)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)


class PromptBuild:
    """The rendering of one prompt: knows whether the server can still be asked."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._ask_server = renderer.source is not None
        self._log = Log()

    async def text(self, template_id: str, variables: Mapping[str, str] | None = None) -> str:
        """Return one part; empty if an operator switched it off."""
        [text] = await self.texts([Part(template_id, variables or {})])
        return text

    async def required(self, template_id: str, variables: Mapping[str, str]) -> str:
        """Return a text that cannot be left out: ours if the server's is blank or switched off."""
        text = await self.text(template_id, variables)
        return text if text.strip() else self._renderer.library.render(template_id, variables)

    async def texts(self, parts: Sequence[Part]) -> list[str]:
        """Return all the parts, rendered concurrently, in the given order."""
        results = [""] * len(parts)

        async def fill(index: int, part: Part) -> None:
            # Values come from tasks, profiles and paths; what JSON cannot carry must not stop us.
            values = {name: clean(value) for name, value in part.variables.items()}
            part = Part(part.template_id, values)
            remote = await self._remote(part)
            local = self._renderer.library.render
            results[index] = local(part.template_id, part.variables) if remote is None else remote

        async with anyio.create_task_group() as tasks:
            for index, part in enumerate(parts):
                tasks.start_soon(fill, index, part)
        return results

    async def _remote(self, part: Part) -> str | None:
        """Return the server's text, or ``None`` where ours has to do."""
        source = self._renderer.source
        if source is None or not self._ask_server:
            return None
        key = _key(part)
        kept = self._renderer.cached(key)
        if kept is not None:
            return kept
        try:
            with anyio.fail_after(self._renderer.timeout_s):
                answer = await source.render_template(
                    part.template_id, part.variables, agent_id=self._renderer.agent_id
                )
        except (ApiError, TimeoutError) as error:
            self._fall_back(part, error)
            return None
        if answer is None:
            return None
        text = "" if answer.skipped else answer.text
        self._renderer.keep(key, text)
        return text

    def _fall_back(self, part: Part, error: ApiError | TimeoutError) -> None:
        concerns_this_part_only = (
            isinstance(error, ApiRefused)
            and not isinstance(error, (RouteMissing, Unauthorized))
            and not error.is_server_fault
        )
        if concerns_this_part_only or self._ask_server:
            why = str(error) or f"no answer within {self._renderer.timeout_s:g} s"
            self._log.warning(Event.PROMPT_FALLBACK, template=part.template_id, why=why)
        if not concerns_this_part_only:
            self._ask_server = False


def _key(part: Part) -> bytes:
    variables = orjson.dumps(dict(part.variables), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(part.template_id.encode() + b"\0" + variables).digest()
