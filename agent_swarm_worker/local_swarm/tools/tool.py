"""What a tool is: a name, a shape of arguments, and a function that acts for an agent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.validation import Shape, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.local_swarm.store import Document, Store


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a tool acts."""

    store: Store
    agent: Document
    source_task_id: str | None = None
    """``X-Source-Task-Id``: the task whose session makes the call."""

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return str(self.agent["id"])

    def task_id(self, arguments: Document) -> str:
        """Return the task that is meant: the named one, else the caller's own."""
        task_id = arguments.get("taskId") or self.source_task_id
        if not task_id:
            raise Refusal(400, "taskId is needed: this call comes from no task")
        return str(task_id)


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool answers. Models see the message and the data as text."""

    message: str
    data: Document = field(default_factory=dict)
    success: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool."""

    name: str
    about: str
    run: Callable[[Caller, Document], Said]
    takes: Shape = field(default_factory=Shape)

    def use(
        self, store: Store, agent_id: str, source_task_id: str | None, arguments: Document
    ) -> Said:
        """Check the arguments and run, in one transaction."""
        try:
            with store.transaction():
                caller = Caller(store, agents.known(store, agent_id), source_task_id)
                said = self.run(caller, self.takes.parse(arguments))
        except (Refusal, ValidationFailed) as error:
            return Said(str(error), success=False)
        return replace(said, data={"yourAgentId": agent_id, **said.data})
