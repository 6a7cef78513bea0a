"""Locate the folders in which harnesses look for skills, and read a skill into a prompt.

`home` is the home directory of the user that the harnesses run as; folders of specs are below it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.files import try_lock
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agent_swarm_worker.contract import HarnessSpec

COMMON_FOLDER = ".agents/skills"
"""Read by several harnesses (docs/skills.md)."""
BUILDING = ".swarm-building-"
"""Prefix of the temporary folders of a write."""
_LOCK_TIMEOUT_S = 5.0
MAX_SKILL_CHARS = 100_000
_COMMAND = re.compile(r"/([a-z0-9:_-]+)(?:\s+(.*))?")


def skill_folders(specs: Iterable[HarnessSpec]) -> tuple[str, ...]:
    """Return the folders that installed skills are written to."""
    named = [folder for spec in specs for folder in spec.skills.folders]
    return tuple(dict.fromkeys([*named, COMMON_FOLDER]))


def command_folders(spec: HarnessSpec, env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return the folders in which a harness's commands are looked up, in order.

    A variable of `env` may name another folder.
    """
    skills = spec.skills
    variable = skills.folder_variable or f"{spec.name.upper().replace('-', '_')}_SKILLS_DIR"
    if folder := named(env, variable).strip():
        return (Path(folder),)
    return tuple(
        home / folder for folder in dict.fromkeys([f".{spec.name}/skills", *skills.folders])
    )


def skill_roots(
    home: Path, folders: Iterable[str], errors: list[str], skipped: list[str], *, create: bool
) -> list[Path]:
    """Return the real paths of `folders`; symbolic links must lead inside `home`.

    Folders outside of it are named in `skipped`, and those that cannot be used in `errors`.
    """
    # Not `Path.resolve`: it raises for a loop of links.
    real_home = os.path.realpath(home)
    roots: dict[Path, None] = {}
    for folder in folders:
        root = Path(os.path.realpath(home / folder))
        if not root.is_relative_to(real_home):
            skipped.append(f"{home / folder}: leads out of the home directory")
            continue
        try:
            if create:
                root.mkdir(parents=True, exist_ok=True)
            if root.is_dir():
                roots[root] = None
        except OSError as error:
            errors.append(f"{root}: {error.strerror or error}")
    return list(roots)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Lock a skills folder against other workers of this machine; removes what a killed one left.

    Raises `OSError` if it stays locked for `_LOCK_TIMEOUT_S`, or cannot be opened.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_up_at_s = time.monotonic() + _LOCK_TIMEOUT_S
        while not try_lock(fd):
            if time.monotonic() > give_up_at_s:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            time.sleep(0.05)
        for leftover in root.glob(f"{BUILDING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """A prompt in which the skill's text replaces the command, and a warning for the log."""

    prompt: str
    warning: str | None = None


def is_installed(prompt: str, home: Path, specs: Sequence[HarnessSpec]) -> bool:
    """True unless `prompt` begins with a command that no folder below `home` contains."""
    command = _command(prompt.partition("\n")[0])
    if command is None:
        return True
    name = command[1].removeprefix("skill:")
    skills = [home / folder / name / "SKILL.md" for folder in skill_folders(specs)]
    commands = [
        home / folder / f"{name}.md" for spec in specs for folder in spec.skills.command_folders
    ]
    return any(path.is_file() for path in (*skills, *commands))


def resolve_command(
    prompt: str, *skills_dirs: Path, max_chars: int = MAX_SKILL_CHARS
) -> ResolvedPrompt:
    """Replace a leading ``/name arguments`` or ``/skill:name arguments`` by the skill's text.

    The first of `skills_dirs` with ``<name>/SKILL.md`` is used; the name has no slash and no dot. A
    skill longer than `max_chars` is cut. For harnesses that do not know commands (docs/skills.md).
    """
    first, _, rest = prompt.partition("\n")
    command = _command(first)
    if command is None:
        return ResolvedPrompt(prompt)
    name = command[1].removeprefix("skill:")
    why = "there is none of that name"
    for skills_dir in skills_dirs:
        path = skills_dir / name / "SKILL.md"
        try:
            if not path.is_file():  # opening a named pipe would block
                continue
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                text = file.read(max_chars + 1)
        except OSError as error:
            why = error.strerror or str(error)
            continue
        warning = f"the skill {name} was cut to {max_chars} characters"
        request = "\n".join(part for part in (command[2] or "", rest) if part)
        return ResolvedPrompt(
            f"{text[:max_chars].strip()}\n\n---\n\nUser request: {request}",
            warning if len(text) > max_chars else None,
        )
    return ResolvedPrompt(prompt, f"the skill {name} cannot be read: {why}")


def _command(first_line: str) -> re.Match[str] | None:
    return _COMMAND.fullmatch(first_line.strip())
