"""Delivers API writes durably: each is retried until the server has accepted or refused it.

A write is on disk when `Outbox.put` returns; this process or the next one delivers it. Lanes are
independent. Within a lane, writes of one stream (`queue.STREAMS`) are delivered in order, and
streams do not wait for each other. A write without a stream waits for all earlier writes of its
lane, and all later ones wait for it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.api.http import RETRIED_STATUSES
from agent_swarm_worker.errors import (
    ApiError,
    ApiRefused,
    ConfigError,
    GatewayRefused,
    RouteMissing,
    Unauthorized,
)
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.delivery import deliver
from agent_swarm_worker.outbox.queue import MAX_BYTES, SET_ASIDE, Delivery, Item, Queue, WriteKind
from agent_swarm_worker.outbox.read_back import may_have_arrived
from agent_swarm_worker.outbox.reduction import (
    MAX_BLOCKING_ATTEMPTS,
    Persistence,
    is_over_content,
    is_temporary,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.state.database import Database

MAX_CONCURRENT_REQUESTS = 8
MAX_WAKES = 3
"""Pauses of one write that the end of an outage cuts short. A write that makes each outage itself,
since a gateway closes the connection over it, would be tried without pause."""
MISSING_ATTEMPTS = 3
"""Attempts after which a route that has never worked is taken to be missing."""
SET_ASIDE_PAUSE_S = 5.0
"""Shortest pause between attempts of a write that is set aside."""
STUCK_S = 5.0
"""Age of a request at the end of an outage from which on no answer is expected any more."""


class Outbox:
    """The queue of writes, and the loop that delivers them."""

    def __init__(
        self,
        database: Database,
        client: SwarmClient,
        *,
        clock: Clock,
        log: Log | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Open the queue with the writes of earlier processes; `run` sends them.

        Above `max_bytes`, writes are evicted (`queue.EVICTION_ORDER`).
        """
        self._log = log or Log()
        self._queue = Queue(database, max_bytes=max_bytes, log=self._log)
        self._client = client
        self._clock = clock
        self._busy: dict[str, Broadcast] = {}
        """The lanes that are being delivered, each with the signal of its changes."""
        self._new_lanes: set[str] = set()
        """Idle lanes that got a write and are not being delivered yet."""
        self._put = Broadcast()
        self._delivered = Broadcast()
        self._recovered = Broadcast()
        self._slots = anyio.CapacityLimiter(MAX_CONCURRENT_REQUESTS)
        self._in_flight: dict[int, tuple[float, anyio.CancelScope]] = {}
        """The attempts in flight, by anyio task id: start time and cancel scope."""
        client.http.health.on_recovered(self._on_recovered)

    def put(
        self, lane: str, kind: WriteKind, args: Mapping[str, Any], *, maybe_delivered: bool = False
    ) -> None:
        """Queue a write; it is on disk on return.

        Args:
            lane: a task's id, or ``worker``.
            kind: of the write.
            args: as `delivery` lists them for this kind.
            maybe_delivered: the server may have the write, so it is read back first.
        """
        self._queue.add(lane, kind, args, maybe_delivered=maybe_delivered)
        self._announce(lane)

    def _announce(self, lane: str) -> None:
        """Have a lane delivered that got a write."""
        if lane in self._busy:
            self._busy[lane].notify()
        else:
            self._new_lanes.add(lane)
            self._put.notify()

    def pending(self, lane: str | None = None) -> int:
        """Return the number of waiting writes, of a lane or of all."""
        return self._queue.count(lane)

    def lanes_with(self, kind: WriteKind) -> tuple[str, ...]:
        """Return the lanes in which a write of this kind waits."""
        return self._queue.lanes_with(kind)

    def result_of(self, task_id: str) -> dict[str, str] | None:
        """Return the result of a task that waits here, or that the server refused."""
        return self._queue.result_of(task_id)

    def journals(self) -> set[str]:
        """Return the paths of the journals of which a range waits."""
        return self._queue.journals()

    async def flushed(self, lane: str, *, timeout_s: float) -> bool:
        """Wait until a lane is empty; False if it is not after `timeout_s`."""
        return await self._wait_until_empty(lane, timeout_s)

    async def flush_all(self, timeout_s: float) -> bool:
        """Wait until all lanes are empty; False if they are not after `timeout_s`."""
        return await self._wait_until_empty(None, timeout_s)

    async def run(self) -> None:
        """Deliver until cancelled. Writes that are not delivered then stay on disk."""
        lanes = self._queue.lanes()
        async with anyio.create_task_group() as group:
            while True:
                next_put = self._put.next
                self._new_lanes.clear()
                for lane in lanes:
                    if lane not in self._busy:
                        self._busy[lane] = Broadcast()
                        group.start_soon(self._drain, lane, name=f"outbox {lane}")
                await next_put.wait()
                lanes = list(self._new_lanes)

    async def _drain(self, lane: str) -> None:
        """Deliver a lane's writes until it is empty, one of each stream concurrently."""
        changes, in_flight = self._busy[lane], dict[int, str | None]()
        try:
            async with anyio.create_task_group() as group:
                while True:
                    change = changes.next
                    for item_id, stream in self._queue.next(lane):
                        if item_id not in in_flight and _may_start(stream, in_flight.values()):
                            in_flight[item_id] = stream
                            group.start_soon(self._settle, item_id, in_flight, changes)
                    if not in_flight:
                        # Without an await before it: a later put must start another drain.
                        self._end_drain(lane, changes)
                        return
                    await change.wait()
        finally:
            self._end_drain(lane, changes)

    def _end_drain(self, lane: str, changes: Broadcast) -> None:
        if self._busy.get(lane) is changes:
            del self._busy[lane]
            self._delivered.notify()

    async def _settle(
        self, item_id: int, in_flight: dict[int, str | None], changes: Broadcast
    ) -> None:
        """Try a write until it is acknowledged, given up, or moved to the end of its lane."""
        from agent_swarm_worker.outbox.retries import attempts  # noqa: PLC0415 - loads only if used

        health = self._client.http.health
        answers, number, pause = health.answers, 0, self._pauses()
        try:
            while (item := self._queue.get(item_id)) is not None:
                least_s = SET_ASIDE_PAUSE_S if item.lane == SET_ASIDE else 0.0
                async for attempt in attempts(pause, least_s=least_s):
                    with attempt:
                        number += 1
                        persistence = Persistence(number, health.answers - answers)
                        await self._attempt(item_id, persistence)
        finally:
            del in_flight[item_id]
            changes.notify()

    async def _attempt(self, item_id: int, persistence: Persistence) -> None:
        """Try a write once; an `ApiError` means that another attempt is due."""
        item = self._queue.get(item_id)
        if item is None:
            return
        if self._client.capabilities.has(item.kind):
            try:
                if await self._is_stuck(item, persistence):
                    self._queue.mark_maybe_delivered(item)
                    return  # `_settle` starts another attempt without a pause
            except ApiError as error:
                if may_have_arrived(error):
                    self._queue.mark_maybe_delivered(item)
                if self._is_worth_another(item, error, persistence.attempts):
                    if self._lets_pass(item, error, persistence):
                        return
                    self._note_retry(item, error, persistence.attempts)
                    raise
            except (ConfigError, LookupError, TypeError, ValueError) as error:
                # Written by another version, or a bug. Raised, it would end the worker again after
                # each restart.
                self._dropped(item, f"cannot be understood: {error!r}")
            else:
                self._client.capabilities.mark_present(item.kind)
        self._queue.remove(item)
        self._delivered.notify()

    async def _is_stuck(self, item: Item, persistence: Persistence) -> bool:
        """Deliver a write; true if it was cancelled because it still hung after an outage."""
        async with self._slots:
            task_id = anyio.get_current_task().id
            with anyio.CancelScope() as scope:
                self._in_flight[task_id] = self._clock.monotonic(), scope
                try:
                    delivery = Delivery(self._client, self._queue, item, self._log, persistence)
                    await deliver(delivery)
                finally:
                    del self._in_flight[task_id]
        return scope.cancelled_caught

    def _is_worth_another(self, item: Item, error: ApiError, number: int) -> bool:
        """True if another attempt may succeed; logs the dropped write if not."""
        if isinstance(error, RouteMissing):
            # It may be a proxy's answer. A route that has worked is more likely hidden than gone.
            is_proven = self._client.capabilities.is_proven(item.kind)
            if number < (MAX_BLOCKING_ATTEMPTS if is_proven else MISSING_ATTEMPTS):
                return True
            self._client.capabilities.mark_missing(item.kind)
            return False
        if not isinstance(error, ApiRefused) or isinstance(error, Unauthorized):
            return True
        if error.is_server_fault or error.status in RETRIED_STATUSES:
            return True
        self._dropped(item, error.message, status=error.status)
        return False

    def _lets_pass(self, item: Item, error: ApiError, persistence: Persistence) -> bool:
        """True if the write waits elsewhere now, so that it does not delay a result.

        After repeated answers of 500, which mean that the server fails on this write, it is at the
        end of its lane; after repeated failures over its content in any form, it is set aside.
        """
        if item.kind == WriteKind.FINISH:
            return False
        if isinstance(error, ApiRefused) and error.status == 500:
            is_due = persistence.attempts >= MAX_BLOCKING_ATTEMPTS
            return is_due and self._queue.move_to_end(item)
        is_due = persistence.is_repeated and is_over_content(error, persistence)
        is_due = is_due or (persistence.is_for_long and is_temporary(error))
        return is_due and self._set_aside(item, error)

    def _set_aside(self, item: Item, error: ApiError) -> bool:
        """Let a write wait where nothing waits for it."""
        if item.lane == SET_ASIDE:
            return self._queue.move_to_end(item)
        why = f"a gateway refuses it in any form; it is tried again later: {error}"
        self._log.warning(Event.WRITE_RETRIED, lane=item.lane, kind=item.kind, error=why)
        self._queue.set_aside(item)
        self._announce(SET_ASIDE)
        return True

    def _note_retry(self, item: Item, error: ApiError, number: int) -> None:
        # An outage is reported once, by the client's `ApiHealth`.
        is_first = isinstance(error, ApiRefused | GatewayRefused) and number == 1
        report = self._log.warning if is_first else self._log.debug
        report(Event.WRITE_RETRIED, lane=item.lane, kind=item.kind, error=str(error))

    def _dropped(self, item: Item, why: str, **details: object) -> None:
        self._log.warning(Event.WRITE_DROPPED, lane=item.lane, kind=item.kind, why=why, **details)

    def _pauses(self) -> Callable[[float], Awaitable[None]]:
        """Return the pauses of one write: at most until the API answers again after an outage."""
        wakes = 0

        async def pause(seconds: float) -> None:
            nonlocal wakes
            if wakes < MAX_WAKES:
                sleep = partial(self._clock.sleep, seconds)
                wakes += (await wait_any(self._recovered.wait, sleep)).index == 0
            else:
                await self._clock.sleep(seconds)

        return pause

    def _on_recovered(self) -> None:
        self._recovered.notify()
        hung_before_s = self._clock.monotonic() - STUCK_S
        answered = anyio.get_current_task().id
        for task_id, (began_s, scope) in self._in_flight.items():
            if began_s <= hung_before_s and task_id != answered:
                scope.cancel()

    async def _wait_until_empty(self, lane: str | None, timeout_s: float) -> bool:
        with anyio.move_on_after(timeout_s):
            await self._delivered.wait_for(lambda: self._is_empty(lane))
        return self._is_empty(lane)

    def _is_empty(self, lane: str | None) -> bool:
        """True if no write waits, and none that was replaced meanwhile is in flight."""
        is_busy = bool(self._busy) if lane is None else lane in self._busy
        return not is_busy and not self._queue.has(lane)


def _may_start(stream: str | None, in_flight: Collection[str | None]) -> bool:
    """True if a write can be sent beside those of its lane that are in flight.

    Their rows may be gone already: newer progress replaces a row that is being sent.
    """
    if stream is None:
        return not in_flight
    return stream not in in_flight and None not in in_flight
