"""Resources of a session: memories, repositories, tool servers, skills, templates (docs/api.md 15).

All of them are optional features (docs/api.md 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.capabilities import Endpoints, Feature
from agent_swarm_worker.api.values import Row, segment
from agent_swarm_worker.api.wire.resources import (
    InstalledMcpServer,
    Memory,
    Repo,
    Skill,
    SkillFile,
    StoredEvent,
)
from agent_swarm_worker.errors import ApiGarbled

if TYPE_CHECKING:
    from collections.abc import Mapping


AGENT_CREDENTIALS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A template with its variables filled in."""

    text: str
    skipped: bool = False
    """True if an operator switched the template off, so that an empty text is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupScripts:
    """Scripts to run before a worker starts (docs/api.md 3.8); empty where there is none."""

    everyone: str = ""
    """Run in all containers, as root."""
    own: str = ""
    """The agent's own, run as the worker's user."""


class Resources(Endpoints):
    """Optional resources of sessions and of the worker."""

    async def memory_search(
        self,
        query: str,
        *,
        intent: str,
        limit: int = 5,
        task_id: str | None = None,
        context_key: str | None = None,
    ) -> tuple[Memory, ...]:
        """Return memories that may help with a task, best first (docs/api.md 15.5)."""
        body = {"query": query, "intent": intent, "limit": limit}
        headers = {"X-Source-Task-ID": task_id, "X-Context-Key": context_key}
        answer = await self._call_if(
            Feature.MEMORY, "POST", "/api/memory/search", body=body, headers=headers
        )
        return Row(answer).rows("results", Memory.from_wire)

    async def index_memory(self, body: Mapping[str, Any]) -> None:
        """Store a memory (docs/api.md 15.5)."""
        await self._http.request("POST", "/api/memory/index", body=body)

    async def memory_paths(self, agent_id: str, path: str) -> tuple[str, ...]:
        """Return the ``sourcePath`` of an agent's memories that contain `path`."""
        body = {"agentId": agent_id, "sourcePath": path, "limit": 20}
        answer = await self._http.call("POST", "/api/memory/list", body=body)
        return tuple(Row(row).text("sourcePath") for row in Row(answer).array("results"))

    async def openapi(self) -> dict[str, Any] | None:
        """Return the server's OpenAPI document (docs/api.md 17.1), ``None`` if it has none."""
        return await self._call_if(Feature.OPENAPI, "GET", "/openapi.json")

    async def repos(self, name: str) -> tuple[Repo, ...]:
        """Return the repositories of exactly this name (docs/api.md 15.1)."""
        answer = await self._get(Feature.REPOS, "/api/repos", {"name": name})
        return Row(answer).rows("repos", Repo.from_wire)

    async def repos_to_clone(self) -> tuple[Repo, ...]:
        """Return the repositories that every worker clones at its start (docs/api.md 15.1)."""
        answer = await self._get(Feature.REPOS, "/api/repos", {"autoClone": "true"})
        return tuple(repo for repo in Row(answer).rows("repos", Repo.from_wire) if repo.auto_clone)

    async def setup_scripts(self, agent_id: str) -> SetupScripts | None:
        """Return the set-up scripts of an agent; ``None`` if the server lacks the route."""
        path = f"/api/agents/{segment(agent_id)}/setup-script"
        answer = await self._get(Feature.SETUP_SCRIPTS, path)
        if answer is None:
            return None
        row = Row(answer)
        return SetupScripts(everyone=row.text("globalSetupScript"), own=row.text("setupScript"))

    async def mcp_servers(
        self, agent_id: str, *, resolve_secrets: bool = False
    ) -> tuple[InstalledMcpServer, ...]:
        """Return the tool servers installed for an agent (docs/api.md 15.2)."""
        path = f"/api/agents/{segment(agent_id)}/mcp-servers"
        query = {"resolveSecrets": "true"} if resolve_secrets else {}
        answer = await self._get(Feature.MCP_SERVERS, path, query)
        return Row(answer).rows("servers", InstalledMcpServer.from_wire)

    async def skills_signature(self, agent_id: str) -> str | None:
        """Return a hash that changes with the agent's skills; ``None`` if the server has none."""
        path = f"/api/agents/{segment(agent_id)}/skills/signature"
        return Row(await self._get(Feature.SKILLS_SIGNATURE, path)).maybe_text("hash")

    async def skills(self, agent_id: str) -> tuple[Skill, ...] | None:
        """Return the agent's skills; ``None`` if the server lacks them: then change no files.

        A row that cannot be read is an `ApiGarbled`: the list would miss a skill.
        """
        path = f"/api/agents/{segment(agent_id)}/skills"
        answer = await self._get(Feature.SKILLS, path)
        if answer is None or not isinstance(answer.get("skills"), list):
            return None
        skills = Row(answer).rows("skills", Skill.from_wire)
        if len(skills) < len(answer["skills"]):
            raise ApiGarbled(self._http.shown_url + path, "a skill without a usable id or name")
        return skills

    async def skill_files(self, skill_id: str) -> tuple[SkillFile, ...]:
        """Return the files of a complex skill, without their content."""
        path = f"/api/skills/{segment(skill_id)}/files"
        return Row(await self._get(Feature.SKILLS, path)).rows("files", SkillFile.from_wire)

    async def skill_file(self, skill_id: str, path: str) -> SkillFile | None:
        """Return one file of a complex skill, with its content."""
        inner = "/".join(segment(part) for part in path.split("/"))
        answer = await self._get(Feature.SKILLS, f"/api/skills/{segment(skill_id)}/files/{inner}")
        return SkillFile.from_wire(Row(answer).nested("file"))

    async def render_template(
        self,
        event_type: str,
        variables: Mapping[str, str],
        *,
        agent_id: str | None = None,
        repo_id: str | None = None,
    ) -> Rendered | None:
        """Return a rendered template (docs/api.md 15.6); ``None`` if the server has none.

        The event type names the template; agent and repository may have versions of their own.
        """
        body = {
            "eventType": event_type,
            "variables": dict(variables),
            "agentId": agent_id,
            "repoId": repo_id,
        }
        answer = await self._call_if(
            Feature.TEMPLATES, "POST", "/api/prompt-templates/render", body=body
        )
        row = Row(answer)
        text, skipped = row.text("text"), row.flag("skipped")
        return Rendered(text=text, skipped=skipped) if text or skipped else None

    async def agent_credentials(self) -> bool:
        """Have the server set up the agent's file store (docs/api.md 3.9); True if it has one."""
        answer = await self._call_if(
            Feature.AGENT_CREDENTIALS,
            "POST",
            "/api/fs/agent-credentials",
            body={},
            timeout_s=AGENT_CREDENTIALS_TIMEOUT_S,
        )
        return Row(answer).flag("enabled")

    async def sweep(self) -> None:
        """Run the server's sweep of stalled tasks now (docs/api.md 16.3); leads do so at boot."""
        await self._request_if(Feature.SWEEP, "POST", "/api/heartbeat/sweep")

    async def concurrent_context(self) -> dict[str, tuple[Row, ...]]:
        """Return the swarm's work under way, as lists by name (docs/api.md 15.5)."""
        answer = await self._get(Feature.CONCURRENT_CONTEXT, "/api/concurrent-context")
        lists = answer or {}
        return {name: tuple(Row(item) for item in Row(lists).array(name)) for name in lists}

    async def health(self, *, timeout_s: float | None = None) -> str:
        """Return the server's version (docs/api.md 2.1), empty if the answer has none."""
        answer = await self._http.call("GET", "/health", identified=False, timeout_s=timeout_s)
        return Row(answer).text("version")

    async def events(
        self, event: str, *, agent_id: str, field: str | None = None, limit: int = 1
    ) -> tuple[StoredEvent, ...]:
        """Return stored events, newest first (docs/api.md 9.4), of this ``data.field`` if given."""
        query = {"event": event, "agentId": agent_id, "dataField": field, "limit": limit}
        answer = await self._get(Feature.STORED_EVENTS, "/api/events", query)
        return Row(answer).rows("events", StoredEvent.from_wire)

    async def _get(
        self, feature: Feature, path: str, query: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        return await self._call_if(feature, "GET", path, params=query)
