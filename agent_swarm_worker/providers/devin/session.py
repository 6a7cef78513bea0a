"""Run one session of Devin: create it, poll it until it is over, take its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from agent_swarm_worker.contract import SteerDelivery
from agent_swarm_worker.providers.devin.api import DevinApi
from agent_swarm_worker.providers.devin.spec import DevinOptions
from agent_swarm_worker.providers.devin.translate import (
    OUTPUT_SCHEMA,
    DevinTranslator,
    message_record,
    status_record,
)
from agent_swarm_worker.providers.kit import vendor_records as records
from agent_swarm_worker.providers.kit.native import text
from agent_swarm_worker.providers.kit.outcome import Failure, failure
from agent_swarm_worker.providers.kit.vendor_api import VendorError
from agent_swarm_worker.providers.kit.vendor_session import (
    SessionFailed,
    VendorSession,
    unknown_session,
)
from agent_swarm_worker.providers.kit.vendor_session import end_orphan as orphan_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig, SteerMode
    from agent_swarm_worker.providers.kit.vendor_records import Record

MARK: Final = "swarm-session-"
"""Beginning of the tag by which a session is found again; then the worker's id of the session."""
MAX_TITLE_CHARS: Final = 100
SETTLES_S: Final = 60.0
"""How long a message may take to turn a finished session into a working one."""


class DevinSession(VendorSession[DevinTranslator]):
    """One session; a poll begins when the one before has ended."""

    title = "Devin"
    api: DevinApi

    def __init__(
        self, config: ProviderSessionConfig, api: DevinApi, *, clock: Clock | None = None
    ) -> None:
        super().__init__(config, DevinTranslator(config, clock=clock), api, clock=clock)
        self._options = DevinOptions.load(config.env)
        self._after = ""
        """Cursor behind which there may be new messages."""
        self._old_end = ""
        """The last message of the earlier work, if the session is resumed."""
        self._last: Record = {}
        self._sent_s: float | None = None
        """When a message was sent to the running session, until that has taken notice."""
        self._spoken = 0
        """How many messages the agent had sent by then."""
        self._waits_since_s: float | None = None

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Send a message to the running session; Devin reads it when it is ready to."""
        del mode
        session_id = self.translator.session_id
        if session_id is None or self.translator.is_final or self._abort_reason is not None:
            return SteerDelivery(False, reason="the session is not running")
        try:
            await self.api.send(session_id, text)
        except VendorError as error:
            return SteerDelivery(False, reason=str(error))
        self._sent_s, self._waits_since_s = self.clock.monotonic(), None
        self._spoken = self.translator.spoken
        return SteerDelivery(True, "queue")

    async def follow(self) -> None:
        """Create or resume the session and poll it."""
        if not await self._resumed():
            await self._create()
        await self._poll()

    async def _create(self) -> None:
        config, options = self.config, self._options
        fresh = config.fresh_prompt if config.resume_session_id else None
        prompt, playbook = fresh or config.prompt, ""
        if config.system_prompt.strip():
            try:
                playbook = await self.api.playbook(config.system_prompt)
            except VendorError as error:
                if error.kind == "authentication_failed":
                    raise
                note = f"no playbook, so that the prompt has its text: {error}"
                self.record(records.warning(note))
                prompt = f"{config.system_prompt}\n\n---\n\n{prompt}"
        body: dict[str, Any] = {
            "prompt": prompt,
            "title": f"swarm-task-{config.task_id}"[:MAX_TITLE_CHARS],
            "tags": ["agent-swarm", config.agent_id, f"{MARK}{config.session_uuid}"],
            "structured_output_schema": OUTPUT_SCHEMA,
        }
        if playbook:
            body["playbook_id"] = playbook
        if config.vcs_repo:
            body["repos"] = [config.vcs_repo]
        if options.max_acu_limit is not None:
            body["max_acu_limit"] = options.max_acu_limit

        async def create() -> Record:
            return await self.api.create(body)

        session = await self.created(create)
        session_id = text(session.get("session_id"))
        if not session_id:
            why = "Devin's API created a session without an id"
            raise SessionFailed(failure("server_error", why))
        url = text(session.get("url")) or f"https://app.devin.ai/sessions/{session_id}"
        self.record(records.init(session_id, resumed=False, model="devin", url=url))

    async def _resumed(self) -> bool:
        """Send the prompt to the session to resume; false if there is none that takes it."""
        session_id = self.config.resume_session_id
        if not session_id:
            return False

        async def look() -> Record:
            return await self.api.get(session_id)

        async def send() -> Record:
            return await self.api.send(session_id, self.config.prompt)

        try:
            session = await self.retried(look)
            if not is_resumable(session):
                return False
            old, self._after = await self.api.messages(session_id, "")
            self._old_end = text(old[-1].get("event_id")) if old else ""
            self.translator.seen.update(text(one.get("event_id")) for one in old)
            # Before the message, which may start the agent without an answer to that reaching us.
            self.record(
                records.init(
                    session_id,
                    resumed=True,
                    model="devin",
                    url=text(session.get("url")) or f"https://app.devin.ai/sessions/{session_id}",
                    structured_output=session.get("structured_output"),
                    acus_consumed=session.get("acus_consumed"),
                    after=self._old_end,
                )
            )
            await self.retried(send)
        except (SessionFailed, VendorError) as error:
            kind = error.kind if isinstance(error, VendorError) else error.failed.category
            if kind in {"stale_session", "invalid_request"}:
                self._after = ""
                return False
            raise
        return True

    async def _poll(self) -> None:
        failures = 0
        interval_s = self._options.poll_interval_ms / 1000
        while True:
            began_s = self.clock.monotonic()
            try:
                await self._read()
            except VendorError as error:
                if not error.is_transient:
                    raise
                failures += 1
                await self.pause(error, failures, interval_s)
                continue
            failures = 0
            if self._is_over(began_s):
                return
            await self.clock.sleep(interval_s)

    async def _read(self) -> None:
        """Take the session's state and its new messages."""
        session_id = self.translator.session_id or ""
        session = await self.api.get(session_id)
        found, self._after = await self.api.messages(session_id, self._after)
        news = news_of(self.translator, session, found, self._last)
        self._last = session
        if news:  # an empty poll is no sign of life
            self.record(*news)

    def _is_over(self, began_s: float) -> bool:
        """Return whether the session has succeeded; raises `SessionFailed` if it failed.

        `began_s` is when the poll began that tells its state.
        """
        state, now_s = self.translator.progress(), self.clock.monotonic()
        if self._sent_s is not None:
            has_noticed = self.translator.spoken > self._spoken
            is_older = began_s <= self._sent_s  # it may not know of the message
            is_early = state.is_over and now_s - self._sent_s < SETTLES_S
            if state.failed is None and (is_older or (is_early and not has_noticed)):
                return False
            self._sent_s = None
        if state.is_over:
            self.is_over_there = not state.runs_there
            if state.failed is not None:
                raise SessionFailed(state.failed)
            return True
        if not state.waits_for:
            self._waits_since_s = None
        elif self._waits_since_s is None:
            self._waits_since_s = now_s
        elif now_s - self._waits_since_s >= self._options.answer_wait_s:
            said = self.translator.state.last_text
            why = f"Devin waited too long for {state.waits_for}"
            raise SessionFailed(Failure("needs_input", f"{why}: {said}" if said else why))
        return False

    async def find(self) -> Mapping[str, Any] | None:
        """Return the session with this one's tag."""
        return await self.api.with_tag(f"{MARK}{self.config.session_uuid}")

    async def end(self, session_id: str, *, goes_on_later: bool) -> None:
        """Terminate the session, for which the vendor has no pause."""
        del goes_on_later
        session = await self.api.terminate(session_id)
        if session and self.translator.session_id:
            self.record(status_record(session))


def is_resumable(session: Record) -> bool:
    """True if a message makes the session work again."""
    is_kept = session.get("is_archived") is not True
    return is_kept and text(session.get("status")) not in {"", "exit", "error"}


def news_of(
    translator: DevinTranslator, session: Record, messages: list[Record], before: Record
) -> list[Record]:
    """Return the records of what is new since those that the translator has had.

    `before` is the session as the API had it at the last call.
    """
    ids = [text(one.get("event_id")) for one in messages]
    old_end = text(translator.first.get("after"))
    begin = ids.index(old_end) + 1 if old_end and old_end in ids else 0
    news, known = [], set(translator.seen)
    for event_id, message in zip(ids[begin:], messages[begin:], strict=True):
        if not event_id or event_id not in known:
            known.add(event_id)
            news.append(message_record(message))
    if (status := status_record(session)) != status_record(before):
        news.append(status)
    return news


async def end_orphan(
    config: ProviderSessionConfig,
    translator: DevinTranslator,
    take: Callable[[Sequence[bytes]], None],
    clock: Clock,
) -> None:
    """Take what a killed worker's session has said since, and terminate it unless it is over."""

    async def end(api: DevinApi) -> None:
        session_id = translator.session_id
        if session_id is None:
            session = await api.with_tag(f"{MARK}{config.session_uuid}")
            session_id = text((session or {}).get("session_id"))
            if not session or not session_id:
                raise unknown_session()
            url = text(session.get("url"))
            take([orjson.dumps(records.init(session_id, resumed=False, model="devin", url=url))])
        session = await api.get(session_id)
        messages, _ = await api.messages(session_id, "")
        news = news_of(translator, session, messages, {})
        take([orjson.dumps(line) for line in news])
        state = translator.progress()
        if state.is_over:
            take([orjson.dumps(records.end(state.failed, 0))])
        if state.runs_there:
            ended = await api.terminate(session_id)
            if ended and not state.is_over:
                take([orjson.dumps(status_record(ended))])

    await orphan_ended("Devin", DevinApi.with_each_key(config.env), end, clock)
