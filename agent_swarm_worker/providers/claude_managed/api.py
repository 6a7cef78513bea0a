"""The requests to Anthropic's Managed Agents API that a session needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_swarm_worker.providers.claude_managed.spec import ManagedOptions
from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.providers.kit.vendor_api import (
    VendorApi,
    VendorError,
    keys_of,
    path_part,
)
from agent_swarm_worker.providers.kit.vendor_records import Record, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from agent_swarm_worker.clock import Clock

VERSION: Final = "2023-06-01"
BETA: Final = "managed-agents-2026-04-01"
PAGE: Final = 100
MAX_PAGES: Final = 1000
MARK: Final = "swarmSessionId"
"""The metadata by which a session is found again: the worker's id of the session."""
AT_REST: Final = frozenset({"idle", "terminated"})


class ManagedApi(VendorApi):
    """The API with one key."""

    def __init__(self, options: ManagedOptions, key: str, *, clock: Clock | None = None) -> None:
        super().__init__(
            "Anthropic's API",
            options.base_url,
            {"x-api-key": key, "anthropic-version": VERSION, "anthropic-beta": BETA},
            variable="ANTHROPIC_BASE_URL",
            timeout_s=options.request_timeout_s,
            clock=clock,
        )

    @classmethod
    def with_each_key(cls, env: Mapping[str, str], *, clock: Clock | None = None) -> list[Self]:
        """Return the API with each key of a pool.

        Raises:
            CredentialsMissing: there is no key, no agent or no environment.
            ConfigError: a variable cannot be used.
        """
        options = ManagedOptions.load(env)
        needed = {
            "ANTHROPIC_API_KEY": options.api_key,
            "MANAGED_AGENT_ID": options.agent_id,
            "MANAGED_ENVIRONMENT_ID": options.environment_id,
        }
        keys = keys_of("claude-managed", needed)
        return [cls(options, key, clock=clock) for key in keys]

    async def create(self, body: Record) -> Record:
        """Create a session, which is idle."""
        return await self.exchange("POST", "/v1/sessions", body)

    async def get(self, session_id: str) -> Record:
        """Return a session."""
        return await self.exchange("GET", f"/v1/sessions/{path_part(session_id)}")

    async def marked(self, agent_id: str, mark: str) -> Record | None:
        """Return the agent's session with this mark among its latest ones."""
        query = [("agent_id", agent_id), ("limit", str(PAGE)), ("order", "desc")]
        page = await self.exchange("GET", "/v1/sessions", query=query)
        found = map(mapping, items(page.get("data")))
        return next((one for one in found if parsed(one, "metadata").get(MARK) == mark), None)

    async def send(self, session_id: str, *events: Record) -> list[Record]:
        """Send events; return them as the vendor has them."""
        path = f"/v1/sessions/{path_part(session_id)}/events"
        answer = await self.exchange("POST", path, {"events": list(events)})
        return [mapping(event) for event in items(answer.get("data"))]

    async def since(self, session_id: str, moment: str) -> list[Record]:
        """Return the events that were processed at `moment` or later, oldest first."""
        path = f"/v1/sessions/{path_part(session_id)}/events"
        first = [("limit", str(PAGE)), ("order", "asc")]
        first += [("created_at[gte]", moment)] if moment else []
        found: list[Record] = []
        page_key = ""
        for _ in range(MAX_PAGES):
            query = [*first, *([("page", page_key)] if page_key else [])]
            page = await self.exchange("GET", path, query=query)
            found += map(mapping, items(page.get("data")))
            page_key = text(page.get("next_page"))
            if not page_key:
                break
        return found

    async def last(self, session_id: str) -> Record:
        """Return the latest event; empty if there is none."""
        path = f"/v1/sessions/{path_part(session_id)}/events"
        page = await self.exchange("GET", path, query=[("limit", "1"), ("order", "desc")])
        return next(map(mapping, items(page.get("data"))), {})

    def stream_path(self, session_id: str) -> str:
        """Return the path of the session's stream of events."""
        return f"/v1/sessions/{path_part(session_id)}/events/stream"

    async def interrupt(self, session_id: str) -> bool:
        """Stop the agent; return whether the session can still be archived.

        Raises `VendorError` while it works on.
        """
        try:
            session = await self.get(session_id)
            if text(session.get("status")) not in AT_REST:
                await self.send(session_id, {"type": "user.interrupt"})
                session = await self.get(session_id)
        except VendorError as error:
            if error.status in (404, 410):
                return False
            raise
        if (status := text(session.get("status"))) not in AT_REST:
            why = f"the session is {status or 'in no state'} after it was interrupted"
            raise VendorError("not_ended", why, is_transient=True)
        return session.get("archived_at") is None

    async def archive(self, session_id: str) -> None:
        """End a session at rest for good."""
        try:
            await self.exchange("POST", f"/v1/sessions/{path_part(session_id)}/archive")
        except VendorError as error:
            if error.status not in (404, 410):
                raise
