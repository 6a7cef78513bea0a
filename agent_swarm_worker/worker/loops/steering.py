"""Delivers steering messages to running sessions, each once, and reports the result of each.

The report goes through the outbox, in the lane of its task: it arrives before the task's finish,
which makes a follow-up task of every unreported message (docs/api.md 12.2).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.contract import SteerableSession, SteerDelivery
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.prompts.user import delivery_text
from agent_swarm_worker.worker.run.running_task import PerTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire.resources import SteeringMessage
    from agent_swarm_worker.contract import SteerMode
    from agent_swarm_worker.worker.boot.parts import LoopParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

INTERVAL_S = 2.0


class SteeringLoop:
    """Fetches pending messages and delivers them."""

    def __init__(self, worker: LoopParts) -> None:
        self._worker = worker
        self._handled: dict[str, set[str]] = {}
        """By task: ids of handled messages that the server may still list as pending."""

    async def run(self) -> None:
        """Fetch and deliver messages until cancelled."""
        async with anyio.create_task_group() as group:
            tasks = PerTask(group, partial(self._serve, group))
            while True:
                await self._worker.clock.sleep(INTERVAL_S)
                running = tuple(self._worker.slots)
                self._handled = {t.task_id: self._handled.get(t.task_id, set()) for t in running}
                if self._worker.settings.steering_enabled:
                    for task in running:
                        if task.takes_messages:
                            tasks.start(task)

    async def _serve(self, group: TaskGroup, task: RunningTask) -> None:
        """Deliver a task's pending messages in order; a slow delivery blocks no other."""
        handled = self._handled.setdefault(task.task_id, set())
        try:
            messages = await self._worker.client.steering.pending(task.task_id)
        except ApiError as error:
            self._worker.log.debug(Event.API_REFUSED, call="steering", why=str(error))
            return
        handled.intersection_update({message.id for message in messages})
        for message in messages:
            if message.status == "pending" and message.id not in handled and task.takes_messages:
                handled.add(message.id)
                text = await delivery_text(self._worker.renderer.build(), message.id, message.body)
                group.start_soon(self._deliver_and_report, task, message, text)

    async def _deliver_and_report(
        self, task: RunningTask, message: SteeringMessage, text: str
    ) -> None:
        delivery = await self._deliver(task, message, text)
        args = {"message_id": message.id}
        if delivery.delivered:
            args["mode"] = delivery.mode or "queue"
        else:
            args["reason"] = self._worker.scrubber.text(delivery.reason or "not delivered")
        self._worker.outbox.put(task.task_id, WriteKind.STEERED, args)
        self._worker.log.info(
            Event.STEERING, task=task.task_id, message=message.id, delivered=delivery.delivered
        )

    async def _deliver(
        self, task: RunningTask, message: SteeringMessage, text: str
    ) -> SteerDelivery:
        """Deliver one message; if the session ends meanwhile, it is not delivered."""
        session = task.session
        if not isinstance(session, SteerableSession):
            return SteerDelivery(False, reason="this harness takes no messages while it runs")
        mode: SteerMode = "steer" if message.mode == "steer" else "queue"
        # The attempt comes first: a message delivered at the same moment counts as delivered.
        first = await wait_any(
            partial(_attempt, session, mode, text), partial(self._session_over, task)
        )
        return first.value

    async def _session_over(self, task: RunningTask) -> SteerDelivery:
        while task.is_live and task.task_id in self._worker.slots:
            await self._worker.clock.sleep(INTERVAL_S)
        return SteerDelivery(False, reason="the session ended before it took the message")


async def _attempt(session: SteerableSession, mode: SteerMode, text: str) -> SteerDelivery:
    try:
        return await session.deliver_steering(mode, text)
    except Exception as error:  # a provider's error must not end the worker
        return SteerDelivery(False, reason=f"the harness failed to take it: {error!r}")
