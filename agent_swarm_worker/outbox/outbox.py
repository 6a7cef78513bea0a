"""The durable outbox: callers say what is to be written, never how often.

Every API write that must arrive goes through `Outbox.put`. It is on disk when `put` returns, and it
is tried until the server has taken or refused it, by this process or the next one. In a lane,
writes of one stream (`queue.STREAMS`) arrive in order and streams do not wait for each other; any
other kind of write waits for all before it, and all after it wait for it. Lanes are independent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.errors import ApiError, ApiRefused, ConfigError, RouteMissing, Unauthorized
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.delivery import Delivery, deliver, may_have_arrived
from agent_swarm_worker.outbox.queue import MAX_BYTES, Item, Queue, WriteKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.state.database import Database

MAX_CONCURRENT_REQUESTS = 8
PATIENCE = 8
"""Attempts after which a write that only it seems to fail lets the next one pass."""
STUCK_S = 5.0
"""A request as old as that, when an outage is over, will hardly be answered any more."""
TRY_AGAIN_STATUSES = (408, 425, 429)


class Outbox:
    """The writes that have not arrived yet, and what delivers them."""

    def __init__(
        self,
        database: Database,
        client: SwarmClient,
        *,
        clock: Clock,
        log: Log | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Take over what an earlier process left; nothing is sent before `run`.

        Args:
            database: of the state directory.
            client: the API.
            clock: for the pauses between attempts.
            log: where retries and losses are reported.
            max_bytes: size above which the least important writes are given up, oldest first,
                as `queue.SACRIFICE` says; on disk, or in memory while the disk takes nothing.
        """
        self._log = log or Log()
        self._queue = Queue(database, max_bytes=max_bytes, log=self._log)
        self._client = client
        self._clock = clock
        self._busy: dict[str, Broadcast] = {}
        """The lanes that are being delivered, and what tells of a change in each."""
        self._awake: set[str] = set()
        """Lanes in which something was put since the last look."""
        self._put = Broadcast()
        self._delivered = Broadcast()
        self._recovered = Broadcast()
        self._slots = anyio.CapacityLimiter(MAX_CONCURRENT_REQUESTS)
        self._under_way: dict[int, tuple[float, anyio.CancelScope]] = {}
        """The attempts that are being made, by their task: when each began, and what ends it."""
        client.http.health.on_recovered(self._on_recovered)

    def put(
        self, lane: str, kind: WriteKind, args: Mapping[str, Any], *, doubtful: bool = False
    ) -> None:
        """Have something written; durable on return.

        Args:
            lane: whose order it keeps: a task's id, or ``worker``.
            kind: what it is.
            args: as `delivery` lists them for this kind.
            doubtful: the server may have it already, so it is read back first where that is
                possible.
        """
        self._queue.add(lane, kind, args, maybe_delivered=doubtful)
        if lane in self._busy:
            self._busy[lane].notify()
        else:
            self._awake.add(lane)
            self._put.notify()

    def pending(self, lane: str | None = None) -> int:
        """Return how many writes have not arrived, of a lane or of all."""
        return self._queue.count(lane)

    def lanes_with(self, kind: WriteKind) -> tuple[str, ...]:
        """Return the lanes in which a write of this kind waits."""
        return self._queue.lanes_with(kind)

    def journals(self) -> set[str]:
        """Return the paths of the journals of which not all has arrived."""
        return self._queue.journals()

    async def flushed(self, lane: str, *, timeout_s: float) -> bool:
        """Wait until a lane is empty; False if it is not after `timeout_s`."""
        return await self._wait_until_empty(lane, timeout_s)

    async def flush_all(self, timeout_s: float) -> bool:
        """Wait until everything has arrived; False if it has not after `timeout_s`."""
        return await self._wait_until_empty(None, timeout_s)

    async def run(self) -> None:
        """Deliver, for ever; cancel it to stop. What is not delivered then stays on disk."""
        waiting = self._queue.lanes()
        async with anyio.create_task_group() as lanes:
            while True:
                news = self._put.next
                self._awake.clear()
                for lane in waiting:
                    if lane not in self._busy:
                        self._busy[lane] = Broadcast()
                        lanes.start_soon(self._drain, lane, name=f"outbox {lane}")
                await news.wait()
                waiting = list(self._awake)

    async def _drain(self, lane: str) -> None:
        """Deliver a lane's writes until there are none; at once what does not depend on another."""
        news, under_way = self._busy[lane], dict[int, str | None]()
        try:
            async with anyio.create_task_group() as group:
                while True:
                    change = news.next
                    for item_id, stream in self._queue.next(lane):
                        if item_id not in under_way and _may_start(stream, under_way.values()):
                            under_way[item_id] = stream
                            group.start_soon(self._settle, item_id, under_way, news)
                    if not under_way:
                        # At once: what is put from here on begins another drain.
                        self._end_drain(lane, news)
                        return
                    await change.wait()
        finally:
            self._end_drain(lane, news)

    def _end_drain(self, lane: str, news: Broadcast) -> None:
        if self._busy.get(lane) is news:
            del self._busy[lane]
            self._delivered.notify()

    async def _settle(
        self, item_id: int, under_way: dict[int, str | None], news: Broadcast
    ) -> None:
        """Try a write until it is acknowledged, given up, or moved to the end of its lane."""
        from agent_swarm_worker.outbox.retries import attempts  # noqa: PLC0415 - idle, none is made

        try:
            while self._queue.get(item_id) is not None:
                async for attempt in attempts(self._pause):
                    with attempt:
                        await self._attempt(item_id, attempt.retry_state.attempt_number)
        finally:
            del under_way[item_id]
            news.notify()

    async def _attempt(self, item_id: int, number: int) -> None:
        """Try a write once.

        Raises:
            ApiError: it is to be tried again.
        """
        item = self._queue.get(item_id)
        if item is None:
            return
        if self._client.capabilities.has(item.kind):
            try:
                if await self._is_stuck(item):
                    self._queue.doubt(item)
                    return  # to be tried again at once
            except ApiError as error:
                if may_have_arrived(error):
                    self._queue.doubt(item)
                if self._is_worth_another(item, error, number):
                    if self._lets_pass(item, error, number):
                        return
                    self._note_retry(item, error, number)
                    raise
            except (ConfigError, LookupError, TypeError, ValueError) as error:
                # Put by another version of this program, or by a mistake of ours: a worker that
                # dies of it would die of it again after each restart.
                self._dropped(item, f"cannot be understood: {error!r}")
            else:
                self._client.capabilities.mark_present(item.kind)
        self._queue.remove(item)
        self._delivered.notify()

    async def _is_stuck(self, item: Item) -> bool:
        """Try to deliver; true if it still hung when the API was back from an outage.

        Raises:
            ApiError: it failed.
        """
        async with self._slots:
            me = anyio.get_current_task().id
            with anyio.CancelScope() as scope:
                self._under_way[me] = self._clock.monotonic(), scope
                try:
                    await deliver(Delivery(self._client, self._queue, item, self._log))
                finally:
                    del self._under_way[me]
        return scope.cancelled_caught

    def _is_worth_another(self, item: Item, error: ApiError, number: int) -> bool:
        """True if the write may still succeed; if not, say so."""
        if isinstance(error, RouteMissing):
            # A server without `finish` is no swarm server, so that is a proxy's answer. A route
            # that worked before is rather hidden for a moment than gone.
            if item.kind == WriteKind.FINISH:
                return True
            if self._client.capabilities.is_proven(item.kind) and number < PATIENCE:
                return True
            self._client.capabilities.mark_missing(item.kind)
            return False
        if not isinstance(error, ApiRefused) or isinstance(error, Unauthorized):
            return True
        if error.is_server_fault or error.status in TRY_AGAIN_STATUSES:
            return True
        self._dropped(item, error.message, status=error.status)
        return False

    def _lets_pass(self, item: Item, error: ApiError, number: int) -> bool:
        """True if the write went to the end of its lane, so that it does not block a result.

        Only for a plain 500: the server fails on this very write, again and again.
        """
        fails_on_it = isinstance(error, ApiRefused) and error.status == 500
        if not fails_on_it or number < PATIENCE or item.kind == WriteKind.FINISH:
            return False
        return self._queue.step_aside(item)

    def _note_retry(self, item: Item, error: ApiError, number: int) -> None:
        # An outage is reported once, by the client's `ApiHealth`.
        is_news = isinstance(error, ApiRefused) and number == 1
        report = self._log.warning if is_news else self._log.debug
        report(Event.WRITE_RETRIED, lane=item.lane, kind=item.kind, error=str(error))

    def _dropped(self, item: Item, why: str, **details: object) -> None:
        self._log.warning(Event.WRITE_DROPPED, lane=item.lane, kind=item.kind, why=why, **details)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until the API answers again."""
        await wait_any(self._recovered.wait, partial(self._clock.sleep, seconds))

    def _on_recovered(self) -> None:
        self._recovered.notify()
        hung_before_s = self._clock.monotonic() - STUCK_S
        has_answer = anyio.get_current_task().id
        for task, (began_s, scope) in self._under_way.items():
            if began_s <= hung_before_s and task != has_answer:
                scope.cancel()

    async def _wait_until_empty(self, lane: str | None, timeout_s: float) -> bool:
        with anyio.move_on_after(timeout_s):
            await self._delivered.wait_for(lambda: self._is_empty(lane))
        return self._is_empty(lane)

    def _is_empty(self, lane: str | None) -> bool:
        """True if nothing waits, and nothing that was replaced meanwhile is still under way."""
        is_busy = bool(self._busy) if lane is None else lane in self._busy
        return not is_busy and not self._queue.has(lane)


def _may_start(stream: str | None, under_way: Collection[str | None]) -> bool:
    """True if a write can be sent beside those of its lane that are under way.

    These may be gone from the queue: newer progress replaces what is being sent.
    """
    if stream is None:
        return not under_way
    return stream not in under_way and None not in under_way
