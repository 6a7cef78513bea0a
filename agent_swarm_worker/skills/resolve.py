"""Putting a skill's text into the prompt, for harnesses that do not know the command for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.skills.places import skill_folders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.contract import HarnessSpec

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
