"""Define a tool: a name, the shape of its arguments, and a function that acts for an agent."""

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
    """The agent that calls a tool."""

    store: Store
    agent: Document
    source_task_id: str | None = None
    """``X-Source-Task-Id``: the task whose session makes the call."""

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return str(self.agent["id"])

    def task_id(self, arguments: Document) -> str:
        """Return the ``taskId`` argument, else the id of the calling session's task."""
        task_id = arguments.get("taskId") or self.source_task_id
        if not task_id:
            raise Refusal(400, "taskId is needed: this call comes from no task")
        return str(task_id)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call; models see message and data as text."""

    message: str
    data: Document = field(default_factory=dict)
    success: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool and its documentation for the model."""

    name: str
    description: str
    run: Callable[[Caller, Document], ToolResult]
    arguments: Shape = field(default_factory=Shape)

    def call(
        self, store: Store, agent_id: str, source_task_id: str | None, arguments: Document
    ) -> ToolResult:
        """Validate the arguments and run the tool, in one transaction."""
        try:
            with store.transaction():
                caller = Caller(store, agents.require(store, agent_id), source_task_id)
                result = self.run(caller, self.arguments.parse(arguments))
        except (Refusal, ValidationFailed) as error:
            return ToolResult(str(error), success=False)
        return replace(result, data={"yourAgentId": agent_id, **result.data})
