"""Run a worker with one harness against a local swarm and a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rig import Rig, swarm_rig
from scripted_model import Recorded, ScriptedModel
from worker_process import WorkerProcess, worker_process

MANY_SECONDS = 120
"""Some take many seconds to start, and ask again for a minute after an error."""


@dataclass
class WorkerRig:
    """A swarm, a worker, and the model behind its harness."""

    rig: Rig
    model: ScriptedModel
    work: Path
    home: Path
    worker: WorkerProcess
    within_s: float = MANY_SECONDS
    """How long a task may take."""
    own_files: frozenset[Path] = frozenset()
    """What was in the home before the worker started."""
    seen: int = 0
    """Requests to the model that belong to earlier tests."""
    submitted: list[str] = field(default_factory=list)

    @property
    def requests(self) -> list[Recorded]:
        return self.model.requests[self.seen :]

    def for_another_test(self, name: str) -> WorkerRig:
        """Return the rig with a working directory of its own, and no requests yet."""
        (work := self.work / name).mkdir()
        return replace(self, work=work, seen=len(self.model.requests), submitted=[])

    async def submit(self, text: str, **more: Any) -> str:
        task_id = await self.rig.submit(text, dir=str(self.work), **more)
        self.submitted.append(task_id)
        return task_id

    async def end_tasks(self) -> None:
        """Cancel what a failed test has left, so that the worker is free for the next."""
        for task_id in self.submitted:
            if (await self.rig.task(task_id))["status"] in ("pending", "in_progress"):
                await self.rig.post(f"/api/tasks/{task_id}/cancel")
            await self.rig.settled(task_id)

    async def run(self, text: str, **more: Any) -> dict[str, Any]:
        task_id = await self.submit(text, **more)
        task = await self.rig.until_ended(task_id, within_s=self.within_s)
        await self.rig.settled(task_id)
        return dict(task)

    def forget(self, session: str) -> None:
        """Delete what the agent wrote into its home, but for downloads and the worker's notes."""
        for path in sorted(self.home.rglob("*"), reverse=True):
            is_kept = {".npm", ".cache", ".factory", "swarm-worker"} & set(path.parts)
            if path.is_dir() or path in self.own_files or (is_kept and session not in path.name):
                continue
            path.unlink()

    def prompts(self) -> list[str]:
        return [request.prompt for request in self.requests]


@asynccontextmanager
async def worker_rig(
    tmp_path: Path,
    env_of: Callable[[Path, str], dict[str, str]],
    make_model: Callable[[], ScriptedModel] = ScriptedModel,
) -> AsyncIterator[WorkerRig]:
    """Start all of it; `env_of` maps a home and the model's address to the worker's settings."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    async with make_model() as model, swarm_rig(tmp_path) as rig:
        env = {**rig.env, **env_of(home, model.url)}
        own_files = frozenset(home.rglob("*"))
        async with worker_process(tmp_path, env) as worker:
            yield WorkerRig(rig, model, work, home, worker, own_files=own_files)
