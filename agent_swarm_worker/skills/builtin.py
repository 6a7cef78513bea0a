"""The skills that come with this package, installed at boot like those of the server.

They are what the prompts' commands (``/work-on-task`` and so on) need on a machine without the
public worker's image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.skills.writer import BUILTIN, SkillFolder, WriteReport, write_skills

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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
