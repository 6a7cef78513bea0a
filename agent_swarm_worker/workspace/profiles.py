"""Initial texts of an agent's profile: generated, or from a role template.

The agent edits them later. A text that still equals the generated one is left out of prompts. A
role template is named by ``TEMPLATE_ID`` and fetched from ``TEMPLATE_REGISTRY_URL``. A copy on disk
is used for a day, and longer if the registry fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import orjson
from anyio import to_thread

from agent_swarm_worker.api.values import Row
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.network import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx2

    from agent_swarm_worker.clock import Clock


CACHE_S = 24 * 3600
MAX_BYTES = 2 * 1024 * 1024
_TIMEOUT_S = 10.0
_TEMPLATE_ID = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_TOKEN = re.compile(r"\{\{\s*agent\.(name|role|description|capabilities)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDetails:
    """The values that initial profile texts are made of."""

    name: str
    role: str = "worker"
    description: str = ""
    capabilities: tuple[str, ...] = ()


def default_profile(agent: AgentDetails) -> dict[str, str]:
    """Return the generated text of each profile field, by its name on the wire."""
    return {
        "soulMd": _soul(agent),
        "identityMd": _identity(agent),
        "toolsMd": _tools(agent),
        "claudeMd": _claude(agent),
    }


def is_default(field: str, text: str, agent: AgentDetails) -> bool:
    """True if `text` equals the text of `default_profile`, apart from whitespace."""
    generated = default_profile(agent).get(field, "")
    return text.split() == generated.split()


def _soul(agent: AgentDetails) -> str:
    return f"""# SOUL.md: {agent.name}

I am {agent.name}, a {agent.role} in a swarm of agents.

## How I work

- I read the whole task before I start, and I ask when two readings would lead to different work.
- I prefer the smallest change that solves the problem, and I check it before I call it done.
- I say early when something is in the way, and what I have tried.

## Boundaries

- I keep secrets out of everything that others can read.
- I do not undo other people's work without being asked to.

## Growth

- When I learn something that will help again, I store it where the next session finds it.
"""


def _identity(agent: AgentDetails) -> str:
    about = f"- About: {agent.description}\n" if agent.description else ""
    expertise = f"- Expertise: {', '.join(agent.capabilities)}\n" if agent.capabilities else ""
    return f"""# IDENTITY.md: {agent.name}

- Name: {agent.name}
- Role: {agent.role or "worker"}
{about}{expertise}
## Working style

What others can count on when they work with me, to be made my own as I find out: I confirm what I
understood before long work, I report at milestones rather than at every step, and I hand over
results that can be used without asking me.

## Quirks

What is worth knowing about me that no job description says: nothing yet. I replace this once I
notice what I do differently from the other agents, and what they tell me they like or do not like.
"""


def _tools(agent: AgentDetails) -> str:
    return f"""# TOOLS.md: {agent.name}

What I need to know about my surroundings. Read before touching something new, updated after.

## Repositories

## Services and hosts

## Interfaces and accounts

## Commands worth remembering

## Notes
"""


def _claude(agent: AgentDetails) -> str:
    capabilities = "\n".join(f"- {item}" for item in agent.capabilities)
    return f"""# Agent: {agent.name}

{agent.description or "No description yet."}

## Role

{agent.role or "worker"}

## Capabilities

{capabilities or "- none named yet"}

---

## Notes

What I want to have before me in every session.

### Learnings

### Preferences

### Important context
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTemplate:
    """Default settings and profile texts for a role."""

    display_name: str | None = None
    role: str | None = None
    capabilities: tuple[str, ...] = ()
    max_tasks: int | None = None
    is_lead: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    """Profile texts by field, with tokens such as ``{{agent.name}}``."""

    def profile(self, agent: AgentDetails) -> dict[str, str]:
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
    """Return the template with an id such as ``official/coder``; ``None`` without a registry."""
    if not registry_url.strip() or not _TEMPLATE_ID.fullmatch(template_id):
        return None
    import httpx2  # noqa: PLC0415 - most workers have no template

    copy = cache_dir / f"{re.sub(r'[^a-zA-Z0-9_-]', '_', template_id)}.json"
    cached, age_s = await to_thread.run_sync(_read_copy, copy, clock)
    if cached is not None and age_s < CACHE_S:
        return cached
    url = f"{registry_url.strip().rstrip('/')}/api/templates/{template_id}"
    try:
        with anyio.fail_after(_TIMEOUT_S):  # httpx2's limits are per read, not for the whole
            content = await _download(url, transport)
        template = _parse(content)
        await to_thread.run_sync(lambda: write_atomically(copy, content, mode=0o644))
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        state = "old copy of the template" if cached else "no template"
        Log().warning(Event.IDENTITY, state=state, template=template_id, why=str(error))
        return cached
    return template


async def _download(url: str, transport: httpx2.AsyncBaseTransport | None) -> bytes:
    content = bytearray()
    async with (
        http_client(
            url,
            name="TEMPLATE_REGISTRY_URL",
            timeout=_TIMEOUT_S,
            follow_redirects=True,
            transport=transport,
        ) as client,
        client.stream("GET", url) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                raise ValueError(f"the template is larger than {MAX_BYTES} bytes")
    return bytes(content)


def _read_copy(path: Path, clock: Clock) -> tuple[AgentTemplate | None, float]:
    try:
        age_s = clock.now().timestamp() - path.stat().st_mtime
        return _parse(path.read_bytes()), age_s
    except (OSError, ValueError):
        return None, 0.0


def _parse(content: bytes) -> AgentTemplate:
    """Parse the registry's answer; fields of a wrong type are left out."""
    row = Row(orjson.loads(content))
    config, files = Row(row.nested("config")), row.nested("files") or {}
    if not files and not config.raw:
        raise ValueError("the answer is not a template")
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
