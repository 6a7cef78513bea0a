"""The swarm API as one object: ``client.tasks.finish(...)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.swarm.agents import Agents
from agent_swarm_worker.swarm.config import Config
from agent_swarm_worker.swarm.keys import Keys
from agent_swarm_worker.swarm.refresh_locks import RefreshLocks
from agent_swarm_worker.swarm.sessions import Sessions
from agent_swarm_worker.swarm.steering import Steering
from agent_swarm_worker.swarm.surroundings import Surroundings
from agent_swarm_worker.swarm.tasks import Tasks
from agent_swarm_worker.swarm.telemetry import Telemetry
from agent_swarm_worker.swarm.work import Work

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http


class SwarmClient:
    """All endpoints, grouped by concern. Every method may raise `errors.ApiError`.

    A method of a feature the server lacks does nothing and returns what stands for "nothing".
    """

    def __init__(self, http: Http, generations: Generations) -> None:
        self.http = http
        self.generations = generations
        self.agents = Agents(http, generations)
        self.work = Work(http, generations)
        self.tasks = Tasks(http, generations)
        self.sessions = Sessions(http, generations)
        self.keys = Keys(http, generations)
        self.config = Config(http)
        self.refresh_locks = RefreshLocks(http, generations)
        self.telemetry = Telemetry(http, generations)
        self.surroundings = Surroundings(http, generations)
        self.steering = Steering(http, generations)
