"""Messages for running sessions: each delivered once, and reported as what became of it.

Whether steering is on is asked each time, so it can be switched while tasks run. What became of a
message is remembered until the server took the report, so that a failed report repeats the report
and not the message (API reference section 5.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.contract import SteerableSession, SteerDelivery
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.prompts.steering import delivery_text
from agent_swarm_worker.worker.slots import PerTask

if TYPE_CHECKING:
    from agent_swarm_worker.contract import SteerMode
    from agent_swarm_worker.swarm.wire import SteeringMessage
    from agent_swarm_worker.worker.context import Worker
    from agent_swarm_worker.worker.slots import RunningTask

INTERVAL_S = 2.0


class Steering:
    """Hands messages to the sessions they are for."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._outcomes: dict[str, SteerDelivery] = {}

    async def run(self) -> None:
        """Look for messages until cancelled."""
        async with anyio.create_task_group() as group:
            tasks = PerTask(group, self._serve)
            while True:
                await self._worker.clock.sleep(INTERVAL_S)
                if self._worker.settings.steering_enabled:
                    for task in self._worker.slots:
                        if _takes_messages(task):
                            tasks.start(task)

    async def _serve(self, task: RunningTask) -> None:
        try:
            for message in await self._worker.client.steering.pending(task.task_id):
                if message.status == "pending":
                    await self._deliver_and_report(task, message)
        except ApiError as error:
            self._worker.log.debug(Event.API_REFUSED, call="steering", why=str(error))

    async def _deliver_and_report(self, task: RunningTask, message: SteeringMessage) -> None:
        outcome = self._outcomes.get(message.id)
        if outcome is None:
            outcome = self._outcomes[message.id] = await self._deliver(task, message)
        steering = self._worker.client.steering
        if outcome.delivered:
            await steering.delivered(message.id, outcome.mode or "queue")
        else:
            reason = self._worker.scrubber.text(outcome.reason or "not delivered")
            await steering.undeliverable(message.id, reason)
        del self._outcomes[message.id]
        self._worker.log.info(
            Event.STEERING, task=task.task_id, message=message.id, delivered=outcome.delivered
        )

    async def _deliver(self, task: RunningTask, message: SteeringMessage) -> SteerDelivery:
        session = task.session
        if not isinstance(session, SteerableSession):
            return SteerDelivery(False, reason="this harness takes no messages while it runs")
        mode: SteerMode = "steer" if message.mode == "steer" else "queue"
        text = await delivery_text(self._worker.renderer.build(), message.id, message.body)
        try:
            return await session.deliver_steering(mode, text)
        except Exception as error:  # a provider's mistake must not end the worker
            return SteerDelivery(False, reason=f"the harness failed to take it: {error!r}")


def _takes_messages(task: RunningTask) -> bool:
    is_live = task.session is not None and task.ended_by is None and not task.is_over
    return task.has_task and is_live
