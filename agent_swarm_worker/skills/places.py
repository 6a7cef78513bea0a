"""The folders that harnesses look into for skills, and the lock that keeps writers apart.

Putting a skill's text into the prompt, for harnesses that do not know the command for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agent_swarm_worker.contract import HarnessSpec

COMMON_FOLDER = ".agents/skills"
"""Where any agent may look, below the home directory (docs/skills.md)."""

BUILDING = ".swarm-building-"
"""How folders begin in which a skill is being built."""

_LOCK_TIMEOUT_S = 5.0
"""Writers are done in milliseconds; whoever takes longer must not hold up every task."""


def skill_folders(specs: Iterable[HarnessSpec]) -> tuple[str, ...]:
    """Return the folders that installed skills are written to, below the home directory."""
    named = [folder for spec in specs for folder in spec.skills.folders]
    return tuple(dict.fromkeys([*named, COMMON_FOLDER]))


def command_folders(spec: HarnessSpec, env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return where a harness's own commands are looked up, the first place first.

    Args:
        spec: of one that does not know commands itself.
        env: the session's environment; a variable may name another folder.
        home: the home directory of the user that the harness runs as.
    """
    skills = spec.skills
    variable = skills.folder_variable or f"{spec.name.upper().replace('-', '_')}_SKILLS_DIR"
    other = named(env, variable).strip()
    if other:
        return (Path(other),)
    return tuple(
        home / folder for folder in dict.fromkeys([f".{spec.name}/skills", *skills.folders])
    )


def skill_roots(
    home: Path, folders: Iterable[str], errors: list[str], skipped: list[str], *, create: bool
) -> list[Path]:
    """Return the harnesses' real folders; links are followed only to places inside `home`.

    Args:
        home: the home directory of the user that the harnesses run as.
        folders: where the harnesses look, below it.
        errors: gets what went wrong with a folder.
        skipped: gets the folders that are not to be written to.
        create: whether to make those that are missing.
    """
    # Not `Path.resolve`: that raises for a loop of links, which here is one more thing in the way.
    real_home = os.path.realpath(home)
    roots: dict[Path, None] = {}
    for place in folders:
        root = Path(os.path.realpath(home / place))
        if not root.is_relative_to(real_home):
            skipped.append(f"{home / place}: leads out of the home directory")
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
    """Keep other workers of this machine out; the lock is on the folder itself.

    Raises:
        OSError: it is busy for too long, or cannot be opened.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_up_at_s = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at_s:
                    raise
                time.sleep(0.05)
        for leftover in root.glob(f"{BUILDING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(fd)


MAX_SKILL_CHARS = 100_000

_COMMAND = re.compile(r"/([a-z0-9:_-]+)(?:\s+(.*))?")


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """A prompt with its command replaced by what the command stands for."""

    prompt: str
    warning: str | None = None
    """What the session's log should say about it."""


def is_installed(prompt: str, home: Path, specs: Sequence[HarnessSpec]) -> bool:
    """True unless `prompt` begins with a command that no harness of this user could know.

    Args:
        prompt: what the session is to be given.
        home: the home directory of the user that the harnesses run as.
        specs: of the harnesses that are installed.
    """
    command = _command(prompt.partition("\n")[0])
    if command is None:
        return True
    name = command[1].removeprefix("skill:")
    skills = [home / place / name / "SKILL.md" for place in skill_folders(specs)]
    folders = [folder for spec in specs for folder in spec.skills.command_folders]
    commands = [home / folder / f"{name}.md" for folder in folders]
    return any(path.is_file() for path in (*skills, *commands))


def resolve_command(
    prompt: str, *skills_dirs: Path, max_chars: int = MAX_SKILL_CHARS
) -> ResolvedPrompt:
    """Replace a leading ``/name arguments`` by the text of that skill (docs/skills.md).

    ``/skill:name`` is the same.

    Args:
        prompt: left as it is unless its first line is a command whose skill exists.
        skills_dirs: where ``<name>/SKILL.md`` is looked up, the first one that has it; the name
            cannot hold a slash or a dot.
        max_chars: a longer skill is cut.
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
            if not path.is_file():  # opening a pipe would wait for somebody to write to it
                continue
            with path.open(encoding="utf-8", errors="replace") as file:
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
