"""Putting a skill's text into the prompt, for harnesses that do not know slash commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_SKILL_CHARS = 100_000

_COMMAND = re.compile(r"/([a-z0-9:_-]+)(?:\s+(.*))?")


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """A prompt with its command replaced by what the command stands for."""

    prompt: str
    warning: str | None = None
    """What the session's log should say about it."""


def max_skill_chars(env: Mapping[str, str]) -> int:
    """Return ``MAX_SKILL_CHARS``; what is no positive number leaves the default."""
    value = env.get("MAX_SKILL_CHARS", "").strip()
    return int(value) if value.isdecimal() and int(value) else MAX_SKILL_CHARS


def resolve_command(
    prompt: str, skills_dir: Path, *, max_chars: int = MAX_SKILL_CHARS
) -> ResolvedPrompt:
    """Replace a leading ``/name arguments`` by the text of that skill (harness reference 3.9).

    Args:
        prompt: left as it is unless its first line is a command whose skill exists.
        skills_dir: where ``<name>/SKILL.md`` is looked up; the name cannot hold a slash or a dot.
        max_chars: a longer skill is cut.
    """
    first, _, rest = prompt.partition("\n")
    command = _COMMAND.fullmatch(first.strip())
    if command is None:
        return ResolvedPrompt(prompt)
    path = skills_dir / command[1] / "SKILL.md"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(max_chars + 1)
    except OSError as error:
        why = error.strerror or str(error)
        return ResolvedPrompt(prompt, f"the skill {command[1]} cannot be read: {why}")
    warning = None
    if len(text) > max_chars:
        text = text[:max_chars]
        warning = f"the skill {command[1]} was cut to {max_chars} characters"
    request = "\n".join(part for part in (command[2] or "", rest) if part)
    return ResolvedPrompt(f"{text.strip()}\n\n---\n\nUser request: {request}", warning)
