"""A provider that writes its journal itself, without the shared session base."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from rig import running_worker, swarm_rig

from agent_swarm_worker.contract import (
    EventListener,
    ProviderAdapter,
    ProviderResult,
    ProviderSessionConfig,
    ProviderTraits,
    SessionInit,
)
from agent_swarm_worker.worker.boot import harness as worker_harness

pytestmark = pytest.mark.anyio

FIRST, SECOND, LAST = ({"type": "said", "number": number} for number in range(3))


class OwnSession:
    """Appends lines to the file that its configuration names."""

    session_id = "own-1"

    def __init__(self, config: ProviderSessionConfig, go_on: anyio.Event) -> None:
        self._config, self._go_on = config, go_on
        self._listeners: list[EventListener] = []

    def on_event(self, listener: EventListener) -> None:
        self._listeners.append(listener)

    async def wait_for_completion(self) -> ProviderResult:
        for listener in self._listeners:
            listener(SessionInit("own-1"))
        with self._config.log_file.open("a") as journal:
            journal.write(f"{json.dumps(FIRST)}\n{json.dumps(SECOND)[:5]}")
            journal.flush()
            await self._go_on.wait()
            journal.write(f"{json.dumps(SECOND)[5:]}\n{json.dumps(LAST)}")  # it has no end
        return ProviderResult(exit_code=0, is_error=False, output="done")

    async def abort(self, reason: str = "cancelled") -> None:
        self._go_on.set()


class OwnAdapter:
    name = "own"
    traits = ProviderTraits()

    def __init__(self) -> None:
        self.go_on = anyio.Event()

    async def check(self, env: object, guest: object) -> None:
        pass

    async def create_session(self, config: ProviderSessionConfig) -> OwnSession:
        return OwnSession(config, self.go_on)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name


async def test_its_lines_arrive_while_it_runs_and_all_of_them_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    adapter = OwnAdapter()

    def create(name: str) -> ProviderAdapter:
        return adapter

    monkeypatch.setattr(worker_harness, "create_provider", create)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, {"HARNESS_PROVIDER": "own"}):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        assert await rig.lines(task_id) == [FIRST], "no half line"
        adapter.go_on.set()
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        assert (row["status"], row["output"]) == ("completed", "done")
        assert await rig.lines(task_id) == [FIRST, SECOND, LAST]
