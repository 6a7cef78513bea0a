"""Install the server's skills for this agent, and those of this package, on disk.

The server's skills are synchronised at boot and before each task. If the server fails, the disk
stays as it is: an error read as an empty list would remove every skill (docs/api.md 15.4).

The package's skills implement the prompts' commands (``/work-on-task`` and so on) on a machine
without the public worker's image.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.skills.writer import (
    BUILTIN,
    MAX_FILES,
    MAX_TOTAL_BYTES,
    SERVER,
    SkillFolder,
    WriteReport,
    is_safe_path,
    write_skills,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from agent_swarm_worker.api.resources import Resources
    from agent_swarm_worker.api.wire.resources import Skill

_FETCHES_AT_ONCE = 4


class SkillSync:
    """Synchronises the skills on disk with the server's, for one task at a time.

    `shipped` is the folder of the package's skills; the harnesses look for skills in `folders`
    below `home`.
    """

    def __init__(
        self, server: Resources, agent_id: str, home: Path, *, shipped: Path, folders: Sequence[str]
    ) -> None:
        self._server, self._agent_id, self._home = server, agent_id, home
        self._shipped, self._folders = shipped, folders
        self._lock = anyio.Lock()
        self._signature: str | None = None
        self._active: tuple[Skill, ...] = ()
        self._log = Log()

    async def install_shipped(self) -> None:
        """Install the package's skills."""
        async with self._lock:
            await self._install_shipped()

    async def _install_shipped(self) -> None:
        report = await to_thread.run_sync(
            install_builtin_skills, self._shipped, self._home, self._folders
        )
        self._log_report(report, state="built-in")

    async def refresh(self) -> tuple[Skill, ...]:
        """Synchronise if the server's skills changed; return the active ones, for the prompts."""
        async with self._lock:
            try:
                await self._refresh()
            except ApiError as error:
                self._log.warning(Event.SKILLS_SYNCED, state="unchanged", why=str(error))
            return self._active

    async def _refresh(self) -> None:
        signature = await self._current_signature()
        if signature is not None and signature == self._signature:
            return
        installed = await self._server.skills(self._agent_id)
        if installed is None:
            return
        active = tuple(skill for skill in installed if skill.is_active and skill.content.strip())
        folders, unread = await self._fetch(active)
        write = partial(
            write_skills, self._home, folders, folders=self._folders, owner=SERVER, keep=unread
        )
        report = await to_thread.run_sync(write)
        report.errors += [f"{name}: its files could not be fetched" for name in unread]
        self._active = active
        # After an error no signature is stored, so that the next task tries again.
        self._signature = None if report.errors else signature
        self._log_report(report)
        if report.removed:  # one of them may have replaced a skill of the package
            await self._install_shipped()

    async def _current_signature(self) -> str | None:
        try:
            return await self._server.skills_signature(self._agent_id)
        except ApiRefused as refusal:
            if refusal.is_server_fault:
                raise
            return None  # an older server, which can have skills without a signature

    async def _fetch(self, active: Sequence[Skill]) -> tuple[list[SkillFolder], list[str]]:
        """Return the skills with their files, and the names of those whose files cannot be read."""
        found: dict[str, SkillFolder] = {}
        unread: list[str] = []
        at_once = anyio.CapacityLimiter(_FETCHES_AT_ONCE)

        async def fetch(skill: Skill) -> None:
            async with at_once:
                try:
                    files = await self._files(skill) if skill.is_complex else {}
                except ApiError:
                    unread.append(skill.name)
                    return
            if files or not skill.is_complex:
                found[skill.id] = SkillFolder(name=skill.name, text=skill.content, files=files)

        async with anyio.create_task_group() as tasks:
            for skill in active:
                tasks.start_soon(fetch, skill)
        # In the server's order: of two skills with one folder name the first is installed.
        return [found[skill.id] for skill in active if skill.id in found], unread

    async def _files(self, skill: Skill) -> dict[str, str]:
        listed = [
            file.path for file in await self._server.skill_files(skill.id) if not file.is_binary
        ]
        if len(listed) > MAX_FILES or not all(is_safe_path(path) for path in listed):
            return dict.fromkeys(listed, "")  # not fetched: the writer will refuse the skill
        files: dict[str, str] = {}
        size = 0
        for path in listed:
            file = await self._server.skill_file(skill.id, path)
            if file is None or file.is_binary:
                continue
            files[path] = file.content
            size += len(file.content)
            if size > MAX_TOTAL_BYTES:
                break
        return files

    def _log_report(self, report: WriteReport, **more: str) -> None:
        counts = {"written": report.written, "removed": report.removed}
        problems = [*report.errors, *report.skipped]
        if problems:
            self._log.warning(Event.SKILLS_SYNCED, **counts, **more, problems=problems[:20])
        else:
            self._log.info(Event.SKILLS_SYNCED, **counts, **more)


def install_builtin_skills(texts: Path, home: Path, folders: Iterable[str]) -> WriteReport:
    """Install the skills in `texts`, except where the user or the server has one of that name."""
    skills = [
        SkillFolder(name=path.parent.name, text=path.read_text(encoding="utf-8"))
        for path in sorted(texts.glob("*/SKILL.md"))
    ]
    return write_skills(home, skills, folders=folders, owner=BUILTIN)
