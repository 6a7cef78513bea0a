"""Keeping the skills on disk equal to those the server has installed for this agent.

Called at boot and before each task. A server that does not answer changes nothing: an empty list
taken for the truth would wipe every skill (docs/api.md 15.4).

The skills that come with this package, installed at boot like those of the server.

They are what the prompts' commands (``/work-on-task`` and so on) need on a machine without the
public worker's image.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

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

    from agent_swarm_worker.api.wire import Skill, SkillFile

_FETCHES_AT_ONCE = 4


class SkillSource(Protocol):
    """The server, as far as skills go; `api.resources` is one. Raises `ApiError`."""

    async def skills_signature(self, agent_id: str) -> str | None:
        """Return what changes with the skills; ``None`` if the server has no such thing."""
        ...

    async def skills(self, agent_id: str) -> Sequence[Skill] | None:
        """Return the installed skills; ``None`` if the server has none to speak of."""
        ...

    async def skill_files(self, skill_id: str) -> Sequence[SkillFile]:
        """Return the bundled files, without content."""
        ...

    async def skill_file(self, skill_id: str, path: str) -> SkillFile | None:
        """Return one bundled file."""
        ...


class SkillSync:
    """Brings the server's skills to this machine; tasks that start together take turns."""

    def __init__(
        self,
        source: SkillSource,
        agent_id: str,
        home: Path,
        *,
        shipped: Path,
        folders: Sequence[str],
    ) -> None:
        """Set up; nothing is asked yet.

        Args:
            source: the server.
            agent_id: whose skills.
            home: the home directory of the user that the harnesses run as.
            shipped: the folder of the skills that come with this package.
            folders: where the harnesses look for skills, below `home`.
        """
        self._source, self._agent_id, self._home = source, agent_id, home
        self._shipped, self._folders = shipped, folders
        self._turn = anyio.Lock()
        self._signature: str | None = None
        self._active: tuple[Skill, ...] = ()
        self._log = Log()

    async def install_shipped(self) -> None:
        """Install our own skills, where the server and the user have none of that name."""
        async with self._turn:
            await self._install_shipped()

    async def _install_shipped(self) -> None:
        report = await to_thread.run_sync(
            install_builtin_skills, self._shipped, self._home, self._folders
        )
        self._tell(report, state="built-in")

    async def refresh(self) -> tuple[Skill, ...]:
        """Bring the disk up to date if anything changed; return the skills to name in prompts."""
        async with self._turn:
            try:
                await self._refresh()
            except ApiError as error:
                self._log.warning(Event.SKILLS_SYNCED, state="unchanged", why=str(error))
            return self._active

    async def _refresh(self) -> None:
        signature = await self._current_signature()
        if signature is not None and signature == self._signature:
            return
        installed = await self._source.skills(self._agent_id)
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
        # Remembered only if all is in place, so that the next task tries again what failed.
        self._signature = None if report.errors else signature
        self._tell(report)
        if report.removed:  # perhaps a skill that stood in for one of ours
            await self._install_shipped()

    async def _current_signature(self) -> str | None:
        try:
            return await self._source.skills_signature(self._agent_id)
        except ApiRefused as refusal:
            if refusal.is_server_fault:
                raise
            return None  # an older server, which may have skills all the same

    async def _fetch(self, active: Sequence[Skill]) -> tuple[list[SkillFolder], list[str]]:
        """Return the skills with their files, and the names of those whose files are not known."""
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
        # In the server's order, since of two skills with one folder name the first one counts.
        return [found[skill.id] for skill in active if skill.id in found], unread

    async def _files(self, skill: Skill) -> dict[str, str]:
        listed = [
            file.path for file in await self._source.skill_files(skill.id) if not file.is_binary
        ]
        if len(listed) > MAX_FILES or not all(is_safe_path(path) for path in listed):
            return dict.fromkeys(listed, "")  # not worth fetching: the writer will refuse it
        files: dict[str, str] = {}
        size = 0
        for path in listed:
            file = await self._source.skill_file(skill.id, path)
            if file is None or file.is_binary:
                continue
            files[path] = file.content
            size += len(file.content)
            if size > MAX_TOTAL_BYTES:
                break
        return files

    def _tell(self, report: WriteReport, **more: str) -> None:
        counts = {"written": report.written, "removed": report.removed}
        problems = [*report.errors, *report.skipped]
        if problems:
            self._log.warning(Event.SKILLS_SYNCED, **counts, **more, problems=problems[:20])
        else:
            self._log.info(Event.SKILLS_SYNCED, **counts, **more)


def install_builtin_skills(texts: Path, home: Path, folders: Iterable[str]) -> WriteReport:
    """Install our own skills below `home`; folders of the user or the server stay as they are.

    Args:
        texts: the folder of our skill texts.
        home: the home directory of the user that the harnesses run as.
        folders: where the harnesses look, below it.
    """
    skills = [
        SkillFolder(name=path.parent.name, text=path.read_text(encoding="utf-8"))
        for path in sorted(texts.glob("*/SKILL.md"))
    ]
    return write_skills(home, skills, folders=folders, owner=BUILTIN)
