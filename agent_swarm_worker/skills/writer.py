"""Write skills into the harnesses' folders.

A folder written here holds the marker file ``.swarm-managed``; folders without it are never changed
or removed. A skill is built in a temporary folder and then renamed, so it appears as a whole.

A SKILL.md needs a name and a description in its front matter: harnesses find it by them, and some
refuse the whole folder if one skill lacks them.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from agent_swarm_worker.front_matter import front_matter
from agent_swarm_worker.skills.folders import BUILDING, locked, skill_roots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MARKER = ".swarm-managed"
SERVER = "server"
"""Owner of the server's skills; its marker is empty, as the public worker writes it."""
BUILTIN = "builtin"
"""Owner of the package's skills, which the server's of the same name replace."""
MAX_FILES = 100
MAX_FILE_BYTES = 512_000
MAX_TOTAL_BYTES = 10 * 1024 * 1024
"""The server's own limits (docs/skills.md), checked again here."""
_MAX_PATH_CHARS = 240
_MAX_DEPTH = 10
_UNSAFE_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFolder:
    """One skill: its name, its SKILL.md, and bundled text files by relative path."""

    name: str
    text: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class WriteReport:
    """The result of `write_skills`."""

    written: int = 0
    removed: int = 0
    errors: list[str] = field(default_factory=list)
    """Of writes, to be tried again."""
    skipped: list[str] = field(default_factory=list)
    """Invalid skills, and skills whose folder the user owns."""


def write_skills(
    home: Path,
    skills: Iterable[SkillFolder],
    *,
    folders: Iterable[str],
    owner: str,
    keep: Collection[str] = (),
) -> WriteReport:
    """Write the owner's `skills` into `folders`, and remove the owner's other skills there.

    Args:
        home: the home directory of the user that the harnesses run as; has the folders.
        skills: all skills of the owner.
        folders: where the harnesses look.
        owner: `SERVER` or `BUILTIN`.
        keep: names of skills of unknown content, which stay unchanged on disk.
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
        why = _fault(skill, folder)
        if not why and folder.casefold() in taken:
            why = f"another skill has the folder {folder} already"
        if why:
            report.skipped.append(f"{skill.name[:100]}: {why}")
            continue
        taken.add(folder.casefold())
        wanted[folder] = skill
    return wanted


def _fault(skill: SkillFolder, folder: str) -> str:
    """Return why the skill is not written; empty if it is valid."""
    if not folder or len(folder) > 100:
        return "its name cannot be a folder's"
    if why := text_fault(skill.text):
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
        current = _owner_of(target)
        if current not in {None, owner} and not (current == BUILTIN and owner == SERVER):
            if current != SERVER:
                report.skipped.append(f"{target}: the swarm did not put this there")
            return
        if current == owner and _is_current(target, skill):
            return
        _replace(target, skill, owner)
        report.written += 1
    except OSError as error:
        report.errors.append(f"{target}: {error.strerror or error}")


def _owner_of(target: Path) -> str | None:
    """Return the folder's owner: ``None`` if it does not exist, empty if it is the user."""
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
    """True if `path` is a regular file with this content; anything else is not opened."""
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


def folder_name(skill_name: str) -> str:
    """Return the folder of a skill: its name with unusual characters as ``_``."""
    return _UNSAFE_IN_NAME.sub("_", skill_name)


def text_fault(text: str) -> str:
    """Return why `text` is not a valid SKILL.md; empty if it is."""
    if not text.strip():
        return "it is empty"
    if len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        return f"it is larger than {MAX_FILE_BYTES} bytes"
    found = front_matter(text)
    absent = [key for key in ("name", "description") if not found.get(key)]
    return f"its front matter has no {' and no '.join(absent)}" if absent else ""


def is_safe_path(path: str) -> bool:
    """True for the relative path of a bundled file that stays inside the skill's folder."""
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
