"""Role templates: what ``TEMPLATE_ID`` names, fetched from ``TEMPLATE_REGISTRY_URL``.

Nothing is asked unless that variable is set. A copy on disk serves for a day, and longer if the
registry does not answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import httpx2
import orjson
from anyio import to_thread

from agent_swarm_worker.atomic import write_atomically
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.swarm.wire import Row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.workspace.default_profile import AgentFacts

CACHE_S = 24 * 3600
MAX_BYTES = 2 * 1024 * 1024
_TIMEOUT_S = 10.0
_TEMPLATE_ID = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_TOKEN = re.compile(r"\{\{\s*agent\.(name|role|description|capabilities)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTemplate:
    """Defaults for an agent of some role."""

    display_name: str | None = None
    role: str | None = None
    capabilities: tuple[str, ...] = ()
    max_tasks: int | None = None
    is_lead: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    """Profile texts by field, with tokens such as ``{{agent.name}}``."""

    def profile(self, agent: AgentFacts) -> dict[str, str]:
        """Return the texts filled in for `agent`."""
        values = {
            "name": agent.name,
            "role": agent.role,
            "description": agent.description,
            "capabilities": ", ".join(agent.capabilities),
        }
        return {
            name: _TOKEN.sub(lambda token: values[token[1]], text)
            for name, text in self.files.items()
        }


async def fetch_template(
    registry_url: str,
    template_id: str,
    cache_dir: Path,
    clock: Clock,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AgentTemplate | None:
    """Return a template, or ``None`` if it cannot be had.

    Args:
        registry_url: base URL of the registry; blank switches this off.
        template_id: such as ``official/coder``.
        cache_dir: where copies are kept.
        clock: tells how old a copy is.
        transport: how to reach the registry; by default over the network.
    """
    if not registry_url.strip() or not _TEMPLATE_ID.fullmatch(template_id):
        return None
    copy = cache_dir / f"{re.sub(r'[^a-zA-Z0-9_-]', '_', template_id)}.json"
    kept, age_s = await to_thread.run_sync(_read_copy, copy, clock)
    if kept is not None and age_s < CACHE_S:
        return kept
    url = f"{registry_url.strip().rstrip('/')}/api/templates/{template_id}"
    try:
        with anyio.fail_after(_TIMEOUT_S):  # a limit per phase does not bound one that drips
            content = await _download(url, transport)
        template = _parse(content)
        await to_thread.run_sync(lambda: write_atomically(copy, content, mode=0o644))
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        state = "old copy of the template" if kept else "no template"
        Log().warning(Event.IDENTITY, state=state, template=template_id, why=str(error))
        return kept
    return template


async def _download(url: str, transport: httpx2.AsyncBaseTransport | None) -> bytes:
    content = bytearray()
    async with (
        httpx2.AsyncClient(timeout=_TIMEOUT_S, transport=transport) as client,
        client.stream("GET", url) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                msg = f"the template is larger than {MAX_BYTES} bytes"
                raise ValueError(msg)
    return bytes(content)


def _read_copy(path: Path, clock: Clock) -> tuple[AgentTemplate | None, float]:
    try:
        age_s = clock.now().timestamp() - path.stat().st_mtime
        return _parse(path.read_bytes()), age_s
    except (OSError, ValueError):
        return None, 0.0


def _parse(content: bytes) -> AgentTemplate:
    """Read the registry's answer; what is missing or of the wrong type is left out."""
    row = Row(orjson.loads(content))
    config, files = Row(row.nested("config")), row.nested("files") or {}
    if not files and not config.raw:
        msg = "the answer is not a template"
        raise ValueError(msg)
    defaults = Row(config.nested("agentDefaults"))
    max_tasks = defaults.whole("maxTasks")
    return AgentTemplate(
        display_name=config.maybe_text("displayName"),
        role=defaults.maybe_text("role"),
        capabilities=defaults.texts("capabilities"),
        max_tasks=max_tasks if max_tasks and max_tasks > 0 else None,
        is_lead=defaults.flag("isLead"),
        files={key: text for key, text in files.items() if isinstance(text, str) and text.strip()},
    )
