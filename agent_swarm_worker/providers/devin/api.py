"""The requests to Devin's API (version 3) that a session needs."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from agent_swarm_worker.providers.devin.spec import DevinOptions
from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.providers.kit.vendor_api import (
    VendorApi,
    VendorError,
    keys_of,
    path_part,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.providers.kit.vendor_records import Record

PAGE: Final = 200
MAX_PAGES: Final = 500
MAX_TITLES: Final = 20
"""Pages of playbooks that are searched for the one with the title."""


class DevinApi(VendorApi):
    """Devin's API with one key, for one organisation."""

    def __init__(self, options: DevinOptions, key: str, *, clock: Clock | None = None) -> None:
        super().__init__(
            "Devin's API",
            options.base_url,
            {"authorization": f"Bearer {key}"},
            variable="DEVIN_API_BASE_URL",
            timeout_s=options.request_timeout_s,
            clock=clock,
        )
        self._org = f"/v3/organizations/{path_part(options.org_id)}"

    @classmethod
    def with_each_key(cls, env: Mapping[str, str], *, clock: Clock | None = None) -> list[Self]:
        """Return the API with each key of a pool.

        Raises:
            CredentialsMissing: there is no key, or no organisation.
            ConfigError: a variable cannot be used.
        """
        options = DevinOptions.load(env)
        needed = {"DEVIN_API_KEY": options.api_key, "DEVIN_ORG_ID": options.org_id}
        keys = keys_of("devin", needed)
        return [cls(options, key, clock=clock) for key in keys]

    async def create(self, body: Record) -> Record:
        """Create a session."""
        return await self.exchange("POST", f"{self._org}/sessions", body)

    async def get(self, session_id: str) -> Record:
        """Return a session."""
        return await self.exchange("GET", f"{self._org}/sessions/{path_part(session_id)}")

    async def with_tag(self, tag: str) -> Record | None:
        """Return the session with a tag; ``None`` if there is none."""
        query = [("tags", tag), ("first", "10")]
        page = await self.exchange("GET", f"{self._org}/sessions", query=query)
        found = map(mapping, items(page.get("items")))
        return next((one for one in found if tag in items(one.get("tags"))), None)

    async def send(self, session_id: str, message: str) -> Record:
        """Send a message to a session; a suspended one is resumed by it."""
        path = f"{self._org}/sessions/{path_part(session_id)}/messages"
        return await self.exchange("POST", path, {"message": message})

    async def messages(self, session_id: str, after: str) -> tuple[list[Record], str]:
        """Return the messages behind a cursor, oldest first, and the cursor to go on from."""
        path = f"{self._org}/sessions/{path_part(session_id)}/messages"
        found: list[Record] = []
        for _ in range(MAX_PAGES):
            query = [("first", str(PAGE)), *([("after", after)] if after else [])]
            page = await self.exchange("GET", path, query=query)
            found += map(mapping, items(page.get("items")))
            cursor = text(page.get("end_cursor"))
            if page.get("has_next_page") is not True or not cursor or cursor == after:
                break  # the last page is read again: it may grow
            after = cursor
        return found, after

    async def terminate(self, session_id: str) -> Record:
        """End a session; one that is gone or has ended is no error."""
        try:
            return await self.exchange("DELETE", f"{self._org}/sessions/{path_part(session_id)}")
        except VendorError as error:
            if error.status in (404, 410):
                return {}
            if error.status in (400, 409, 422):  # perhaps since it has ended
                session = await self.get(session_id)
                if text(session.get("status")) in {"exit", "error", "suspended"}:
                    return session
            raise

    async def playbook(self, body: str) -> str:
        """Return the id of the playbook with this text; it is created if there is none.

        Its title has the hash of the text, so that all workers of the organisation share it.
        """
        title = f"agent-swarm {sha256(body.encode()).hexdigest()[:32]}"
        path, after = f"{self._org}/playbooks", ""
        for _ in range(MAX_TITLES):
            query = [("first", str(PAGE)), *([("after", after)] if after else [])]
            page: dict[str, Any] = await self.exchange("GET", path, query=query)
            for one in map(mapping, items(page.get("items"))):
                if one.get("title") == title and one.get("body") == body:
                    return text(one.get("playbook_id"))
            after = text(page.get("end_cursor"))
            if page.get("has_next_page") is not True or not after:
                break
        created = await self.exchange("POST", path, {"title": title, "body": body})
        return text(created.get("playbook_id"))
