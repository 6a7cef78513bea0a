"""Render templates: from the server, where operators can customise them, else from the package.

A prompt has up to eight parts. They are rendered concurrently, and answers are cached for a minute,
since most parts are the same for every task. After the first failure the rest of the same prompt
uses the package's texts, so a server that does not answer costs a prompt one time limit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import orjson

from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing, Unauthorized
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.prompts.texts import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.resources import Resources
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.prompts.texts import TemplateLibrary

_MAX_CACHED = 64
_MAX_CACHED_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One template to render, with the values of its variables."""

    template_id: str
    variables: Mapping[str, str] = field(default_factory=dict)


class Renderer:
    """Makes a `PromptBuild` per prompt; owns the templates, the server client and the cache."""

    def __init__(
        self,
        library: TemplateLibrary,
        *,
        clock: Clock,
        server: Resources | None = None,
        agent_id: str | None = None,
        timeout_s: float = 5.0,
        cache_s: float = 60.0,
    ) -> None:
        """Set up rendering.

        Args:
            library: the package's templates.
            clock: dates the cached answers.
            server: renders customised templates; ``None``: use `library` only.
            agent_id: selects templates customised for this agent.
            timeout_s: limit of each request to the server.
            cache_s: how long an answer of the server is reused.
        """
        self.library, self.server, self.agent_id = library, server, agent_id
        self.timeout_s = timeout_s
        self._clock, self._cache_s = clock, cache_s
        self._cache: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def build(self) -> PromptBuild:
        """Start a prompt; one build serves all parts of one task."""
        return PromptBuild(self)

    def cached(self, key: bytes) -> str | None:
        """Return a cached answer that is not older than `cache_s`."""
        expires, text = self._cache.get(key, (0.0, ""))
        return text if self._clock.monotonic() < expires else None

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
        text = await self.text(template_id, variables)
        return text if text.strip() else self._renderer.library.render(template_id, variables)

    async def texts(self, parts: Sequence[Part]) -> list[str]:
        """Return all the parts, rendered concurrently, in the given order."""
        results = [""] * len(parts)

        async def fill(index: int, part: Part) -> None:
            # Values come from tasks, profiles and paths, and may hold text that JSON cannot carry.
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
        """Return the server's text; ``None``: use the package's."""
        server = self._renderer.server
        if server is None or not self._ask_server:
            return None
        key = _cache_key(part)
        if (cached := self._renderer.cached(key)) is not None:
            return cached
        try:
            with anyio.fail_after(self._renderer.timeout_s):
                answer = await server.render_template(
                    part.template_id, part.variables, agent_id=self._renderer.agent_id
                )
        except (ApiError, TimeoutError) as error:
            self._fall_back(part, error)
            return None
        if answer is None:
            return None
        text = "" if answer.skipped else answer.text
        self._renderer.store(key, text)
        return text

    def _fall_back(self, part: Part, error: ApiError | TimeoutError) -> None:
        affects_this_part_only = (
            isinstance(error, ApiRefused)
            and not isinstance(error, (RouteMissing, Unauthorized))
            and not error.is_server_fault
        )
        if affects_this_part_only or self._ask_server:
            why = str(error) or f"no answer within {self._renderer.timeout_s:g} s"
            self._log.warning(Event.PROMPT_FALLBACK, template=part.template_id, why=why)
        if not affects_this_part_only:
            self._ask_server = False


def _cache_key(part: Part) -> bytes:
    variables = orjson.dumps(dict(part.variables), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(part.template_id.encode() + b"\0" + variables).digest()
