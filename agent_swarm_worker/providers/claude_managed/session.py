"""Run one Managed Agents session: create it, send the prompt, follow its events.

A stream of events has only what happens while it is open. So after each opening the events since
the last one are listed, and those that were taken are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from agent_swarm_worker.contract import SteerDelivery
from agent_swarm_worker.providers.claude_managed.api import MARK, ManagedApi
from agent_swarm_worker.providers.claude_managed.spec import SPEC, ManagedOptions
from agent_swarm_worker.providers.claude_managed.translate import ManagedTranslator
from agent_swarm_worker.providers.kit import vendor_records as records
from agent_swarm_worker.providers.kit.native import items, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import failure
from agent_swarm_worker.providers.kit.vendor_api import VendorError
from agent_swarm_worker.providers.kit.vendor_records import parsed
from agent_swarm_worker.providers.kit.vendor_session import (
    SessionFailed,
    VendorSession,
    unknown_session,
)
from agent_swarm_worker.providers.kit.vendor_session import end_orphan as orphan_ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig, SteerMode
    from agent_swarm_worker.providers.kit.vendor_records import Record

REOPEN_S: Final = 0.5
"""Least wait before a stream that ended is opened again."""
SETTLES_S: Final = 30.0
"""How long an idle session may take to begin with a message that it was sent."""


class ManagedSession(VendorSession[ManagedTranslator]):
    """One session."""

    title = "The managed agent"
    api: ManagedApi

    def __init__(
        self, config: ProviderSessionConfig, api: ManagedApi, *, clock: Clock | None = None
    ) -> None:
        super().__init__(config, ManagedTranslator(config, clock=clock), api, clock=clock)
        self._options = ManagedOptions.load(config.env)
        self._prompt = config.prompt
        self._is_prompted = False
        self._pending: dict[str, float] = {}
        """Ids of messages that the agent has not begun with, and when they were sent."""
        self._has_news = False
        """The vendor has answered since the last failure."""

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Send a message to the running session; the agent reads it after its current step."""
        session_id = self.translator.session_id
        if session_id is None or self.translator.is_final or self._abort_reason is not None:
            return SteerDelivery(False, reason="the session is not running")
        try:
            sent = await self.api.send(session_id, _message(text))
        except VendorError as error:
            return SteerDelivery(False, reason=str(error))
        self._remember(sent)
        return SteerDelivery(True, mode)

    async def follow(self) -> None:
        """Create or resume the session and follow it."""
        if not await self._resumed():
            await self._create()
        failures = 0
        while not self._is_over():
            self._has_news = False
            problem = await self._follow_stream()
            if self._is_over():
                return
            failures = 1 if self._has_news else failures + 1
            if self._has_news:
                await self.clock.sleep(problem.pause_s(1, REOPEN_S))
            else:
                await self.pause(problem, failures)

    async def _follow_stream(self) -> VendorError:
        """Follow one stream until it ends or the session is over; return why it ended."""
        session_id = self.translator.session_id or ""
        problem = VendorError("stream_ended", "the stream of events ended", is_transient=True)
        try:
            async with self.api.events(self.api.stream_path(session_id)) as events:
                await self._catch_up(session_id)
                await self._read(events)
        except VendorError as error:
            problem = error
        if not problem.is_transient:
            raise problem
        try:
            if not self._is_over():
                await self._catch_up(session_id)
        except VendorError as error:
            if not error.is_transient:
                raise
            problem = error
        return problem

    async def _catch_up(self, session_id: str) -> None:
        """Take the events since the last one; send the prompt if it was not sent."""
        self._take(await self.api.since(session_id, self.translator.last_at))
        self._has_news = True
        if not self._is_prompted:
            # Without an answer it is known only from the events whether the prompt arrived.
            sent = await self.api.send(session_id, self._first_message())
            self._is_prompted = True
            self._remember(sent)

    async def _read(self, events: AsyncIterator[bytes]) -> None:
        if self._is_over():
            return
        async for data in events:
            try:
                event = mapping(orjson.loads(data))
            except ValueError:
                event = {}
            self._take([event])
            if self._is_over():
                return

    def _take(self, events: Sequence[Record]) -> None:
        """Take the events that are new; one that the vendor has not processed comes again."""
        known, new = set(self.translator.seen), []
        for event in events:
            event_id, kind = text(event.get("id")), text(event.get("type"))
            if kind == "user.message" and self._is_own(event):
                self._is_prompted = True
            if not kind or event_id in known or event.get("processed_at") is None:
                continue
            known.add(event_id)
            self._pending.pop(event_id, None)
            new.append(event)
        if new:
            self._has_news = True
            self.record(*new)

    def _is_over(self) -> bool:
        """Return whether the session has succeeded; raises `SessionFailed` if it failed."""
        rest = self.translator.rest
        if rest is None:
            return False
        now_s = self.clock.monotonic()
        if not rest.is_gone and any(now_s - at_s < SETTLES_S for at_s in self._pending.values()):
            return False
        self.is_over_there = rest.is_gone or rest.failed is None
        if rest.failed is not None:
            raise SessionFailed(rest.failed)
        return True

    def _remember(self, sent: Sequence[Record]) -> None:
        for event in sent:
            event_id, is_read = text(event.get("id")), event.get("processed_at") is not None
            if event_id and not is_read and event_id not in self.translator.seen:
                self._pending[event_id] = self.clock.monotonic()

    def _first_message(self) -> Record:
        """Return the prompt: what is the same for each session of the agent comes first."""
        config = self.config
        own = f"[swarm worker] agentId={config.agent_id}\n\n{config.system_prompt}"
        return _message(own.rstrip(), f"---\n\nUser request:\n{self._prompt}")

    def _is_own(self, event: Record) -> bool:
        return not self._is_prompted and _texts(event) == _texts(self._first_message())

    async def _create(self) -> None:
        config, options = self.config, self._options
        if config.resume_session_id and config.fresh_prompt:
            self._prompt = config.fresh_prompt
        model = SPEC.models.aliases.get(config.model.strip().lower(), config.model.strip())
        agent: Any = options.agent_id
        if model:
            agent = {"type": "agent_with_overrides", "id": options.agent_id, "model": model}
        body: dict[str, Any] = {
            "agent": agent,
            "environment_id": options.environment_id,
            "title": f"Task {config.task_id}"[:200],
            "metadata": {
                "swarmAgentId": config.agent_id[:500],
                "swarmTaskId": config.task_id[:500],
                MARK: config.session_uuid,
            },
        }
        vaults = dict.fromkeys(filter(None, (options.mcp_vault_id, options.github_vault_id)))
        if vaults:
            body["vault_ids"] = list(vaults)
        if config.vcs_repo:
            body["resources"] = [self._repository(config.vcs_repo)]

        async def create() -> Record:
            return await self.api.create(body)

        session = await self.created(create)
        session_id = text(session.get("id"))
        if not session_id:
            why = "Anthropic's API created a session without an id"
            raise SessionFailed(failure("server_error", why))
        self.record(records.init(session_id, resumed=False, model=_model_of(session) or model))

    def _repository(self, repo: str) -> Record:
        url = repo if "://" in repo else f"https://github.com/{repo.strip('/')}"
        token = self._options.github_token
        resource = {"type": "github_repository", "url": url}
        return {**resource, "authorization_token": token} if token else resource

    async def _resumed(self) -> bool:
        """Prepare to continue the session to resume; false if there is none that takes messages."""
        session_id = self.config.resume_session_id
        if not session_id:
            return False

        async def look() -> Record:
            return await self.api.get(session_id)

        async def last() -> Record:
            return await self.api.last(session_id)

        try:
            session = await self.retried(look)
            if not is_resumable(session):
                return False
            latest = await self.retried(last)
        except SessionFailed as error:
            if error.failed.category == "stale_session":
                return False
            raise
        after = text(latest.get("processed_at"))
        # Those of the same moment as the latest are old, too.
        old = await self.api.since(session_id, after) if after else []
        self.record(
            records.init(
                session_id,
                resumed=True,
                model=_model_of(session),
                after=after,
                old=[text(event.get("id")) for event in old],
                active_s=number(parsed(session, "usage").get("active_seconds")),
            )
        )
        return True

    async def find(self) -> Mapping[str, Any] | None:
        """Return the session with this one's mark."""
        return await self.api.marked(self._options.agent_id, self.config.session_uuid)

    async def end(self, session_id: str, *, goes_on_later: bool) -> None:
        """Interrupt the session, and archive it unless it may be resumed."""
        if await self.api.interrupt(session_id) and not goes_on_later:
            await self.api.archive(session_id)

    async def before_result(self) -> None:
        """Fetch how long the session has worked, and what it said before it was ended."""
        session_id = self.translator.session_id
        if session_id is None:
            return
        try:
            self._take(await self.api.since(session_id, self.translator.last_at))
            self.record(_usage_record(await self.api.get(session_id)))
        except VendorError as error:
            self.record(records.warning(f"the last events of the session are missing: {error}"))


def is_resumable(session: Record) -> bool:
    """True if a message makes the session work again."""
    status = text(session.get("status"))
    return status not in {"", "terminated"} and session.get("archived_at") is None


def _message(*texts: str) -> Record:
    blocks = [{"type": "text", "text": content} for content in texts]
    return {"type": "user.message", "content": blocks}


def _texts(event: Record) -> list[str]:
    return [text(mapping(block).get("text")) for block in items(event.get("content"))]


def _model_of(session: Record) -> str:
    return text(parsed(parsed(session, "agent"), "model").get("id"))


def _usage_record(session: Record) -> Record:
    return {"type": "system", "subtype": "usage", "usage": parsed(session, "usage")}


async def end_orphan(
    config: ProviderSessionConfig,
    translator: ManagedTranslator,
    take: Callable[[Sequence[bytes]], None],
    clock: Clock,
) -> None:
    """Take what a killed worker's session has said since, and stop it unless it is at rest.

    It is not archived, so that the task that repeats this one can continue it.
    """
    options = ManagedOptions.load(config.env)

    def take_records(*new: Record) -> None:
        if new:
            take([orjson.dumps(line) for line in new])

    async def end(api: ManagedApi) -> None:
        session_id = translator.session_id
        if session_id is None:
            session = await api.marked(options.agent_id, config.session_uuid)
            session_id = text((session or {}).get("id"))
            if not session or not session_id:
                raise unknown_session()
            take_records(records.init(session_id, resumed=False, model=_model_of(session)))
        events = await api.since(session_id, translator.last_at)
        is_new = [
            event
            for event in events
            if event.get("processed_at") is not None
            and text(event.get("id")) not in translator.seen
        ]
        take_records(*is_new)
        rest = translator.rest
        if rest is None:
            await api.interrupt(session_id)
        session = await api.get(session_id)
        take_records(_usage_record(session))
        if rest is not None:
            take_records(records.end(rest.failed, 0))

    await orphan_ended(ManagedSession.title, ManagedApi.with_each_key(config.env), end, clock)
