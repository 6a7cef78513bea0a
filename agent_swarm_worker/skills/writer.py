"""Writing skills into the harnesses' folders without touching what is not ours.

A folder of ours holds the marker file ``.swarm-managed``; nothing without it is changed or removed.
A skill appears as a whole or not at all: it is built aside and then takes the place of the old one.

What a SKILL.md must be before it is written: small enough, and with front matter that says what.

A harness finds a skill by the name and description in its front matter; without them it is dead
weight at best, and some harnesses refuse the whole folder.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from agent_swarm_worker.skills.places import BUILDING, locked, skill_roots
from agent_swarm_worker.text import front_matter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MARKER = ".swarm-managed"
SERVER = "server"
"""Owner of what the swarm's server sent. Its marker is empty, as the public worker writes it."""
BUILTIN = "builtin"
"""Owner of what came with this package; the server's skill of the same name takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFolder:
    """One skill as it is to be on disk."""

    name: str
    text: str
    """The content of its SKILL.md."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Bundled text files by relative path."""


@dataclass(slots=True)
class WriteReport:
    """What a write did."""

    written: int = 0
    removed: int = 0
    errors: list[str] = field(default_factory=list)
    """What could not be written, and is worth another try."""
    skipped: list[str] = field(default_factory=list)
    """What will not be written as it is: a bad skill, or the place of something of the user's."""


def write_skills(
    home: Path,
    skills: Iterable[SkillFolder],
    *,
    folders: Iterable[str],
    owner: str,
    keep: Collection[str] = (),
) -> WriteReport:
    """Make the skill folders below `home` hold this owner's skills, and no others of this owner.

    Args:
        home: the home directory of the user that the harnesses run as.
        skills: what there should be.
        folders: where the harnesses look, below `home`.
        owner: `SERVER` or `BUILTIN`.
        keep: names of skills that are to stay as they are, since it is not known what they hold.
    """
    report = WriteReport()
    wanted = _checked(skills, report)
    staying = {*wanted, *(folder_name(name) for name in keep)}
    for root in skill_roots(home, folders, report.errors, report.skipped, create=bool(wanted)):
        try:
            with locked(root):
                for folder, skill in wanted.items():
                    _write_one(root / folder, skill, owner, report)
                _remove_others(root, staying, owner, report)
        except OSError as error:
            report.errors.append(f"{root}: {error.strerror or error}")
    return report


def _checked(skills: Iterable[SkillFolder], report: WriteReport) -> dict[str, SkillFolder]:
    wanted: dict[str, SkillFolder] = {}
    taken: set[str] = set()
    for skill in skills:
        folder = folder_name(skill.name)
        why = _why_not(skill, folder)
        if not why and folder.casefold() in taken:
            why = f"another skill has the folder {folder} already"
        if why:
            report.skipped.append(f"{skill.name[:100]}: {why}")
            continue
        taken.add(folder.casefold())
        wanted[folder] = skill
    return wanted


def _why_not(skill: SkillFolder, folder: str) -> str:
    if not folder or len(folder) > 100:
        return "its name cannot be a folder's"
    why = refusal(skill.text)
    if why:
        return why
    if len(skill.files) > MAX_FILES:
        return f"it has more than {MAX_FILES} files"
    unsafe = next((path for path in skill.files if not is_safe_path(path)), None)
    if unsafe is not None:
        return f"its file {unsafe[:100]!r} cannot be placed in its folder"
    sizes = [len(text.encode(errors="replace")) for text in skill.files.values()]
    if max(sizes, default=0) > MAX_FILE_BYTES or sum(sizes) > MAX_TOTAL_BYTES:
        return "its files are too large"
    return ""


def _write_one(target: Path, skill: SkillFolder, owner: str, report: WriteReport) -> None:
    try:
        there = _owner_of(target)
        if there not in {None, owner} and not (there == BUILTIN and owner == SERVER):
            if there != SERVER:
                report.skipped.append(f"{target}: the swarm did not put this there")
            return
        if there == owner and _is_current(target, skill):
            return
        _replace(target, skill, owner)
        report.written += 1
    except OSError as error:
        report.errors.append(f"{target}: {error.strerror or error}")


def _owner_of(target: Path) -> str | None:
    """Return whose folder this is: ``None`` if there is none, empty if it is the user's."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return None
    marker = target / MARKER
    if not stat.S_ISDIR(mode) or marker.is_symlink() or not marker.is_file():
        return ""
    with marker.open("rb") as file:
        return file.read(100).decode(errors="replace").strip() or SERVER


def _contents(skill: SkillFolder) -> dict[str, bytes]:
    texts = {"SKILL.md": skill.text, **skill.files}
    return {path: text.encode(errors="replace") for path, text in texts.items()}


def _is_current(target: Path, skill: SkillFolder) -> bool:
    contents = _contents(skill)
    present = {
        str(path.relative_to(target))
        for path in target.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return present == {MARKER, *contents} and all(
        _holds(target / path, content) for path, content in contents.items()
    )


def _holds(path: Path, content: bytes) -> bool:
    """True if a plain file holds just this; what an agent put in its place is not opened."""
    status = path.lstat()
    is_plain = stat.S_ISREG(status.st_mode) and status.st_size == len(content)
    return is_plain and path.read_bytes() == content


def _replace(target: Path, skill: SkillFolder, owner: str) -> None:
    building = Path(tempfile.mkdtemp(prefix=BUILDING, dir=target.parent))
    try:
        fresh = building / "new"
        for path, content in _contents(skill).items():
            file = fresh / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (fresh / MARKER).write_text("" if owner == SERVER else owner, encoding="utf-8")
        old = building / "old"
        if target.is_dir():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.is_dir():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _remove_others(root: Path, staying: set[str], owner: str, report: WriteReport) -> None:
    for folder in sorted(root.iterdir()):
        if folder.name in staying:
            continue
        try:
            if _owner_of(folder) == owner:
                shutil.rmtree(folder)
                report.removed += 1
        except OSError as error:
            report.errors.append(f"{folder}: {error.strerror or error}")


MAX_FILES = 100
MAX_FILE_BYTES = 512_000
MAX_TOTAL_BYTES = 10 * 1024 * 1024
"""The server's own limits (docs/skills.md), checked again here."""

_UNSAFE_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_PATH_CHARS = 240
_MAX_DEPTH = 10


def folder_name(skill_name: str) -> str:
    """Return the folder of a skill: its name with everything unusual as ``_``."""
    return _UNSAFE_IN_NAME.sub("_", skill_name)


def refusal(text: str) -> str:
    """Return why `text` is no SKILL.md; empty if it is one."""
    if not text.strip():
        return "it is empty"
    if len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        return f"it is larger than {MAX_FILE_BYTES} bytes"
    found = front_matter(text)
    absent = [key for key in ("name", "description") if not found.get(key)]
    return f"its front matter has no {' and no '.join(absent)}" if absent else ""


def is_safe_path(path: str) -> bool:
    """True for the relative path of a bundled file that stays inside the skill's folder.

    The server checks this too, but what it sends is written to somebody's home directory.
    """
    parts = path.split("/")
    return (
        0 < len(path) <= _MAX_PATH_CHARS
        and len(parts) <= _MAX_DEPTH
        and path.isprintable()
        and "\\" not in path
        and ":" not in path
        and all(part not in {"", ".", ".."} for part in parts)
        and not PurePosixPath(path).is_absolute()
        and path.casefold() not in {"skill.md", ".swarm-managed"}
    )
