"""The skills of the in-process agent: listed in its system prompt, or put into the prompt itself.

They are where the pi CLI has them, ``~/.pi/agent/skills/<name>/SKILL.md``, and written there by the
worker's own sync or by people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.text import front_matter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from agent_swarm_worker.contract import Guest

"""Unless the variable of this name says otherwise."""
MAX_LISTED = 200
MAX_FOLDERS = 10_000
MAX_DESCRIPTION_CHARS = 500
MAX_SECTION_CHARS = 30_000
_HEAD_BYTES = 64 * 1024
_COMMAND = "/skill:"
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")


class UnusableSkill(ValueError):
    """There is no such skill, or its file cannot be used."""


@dataclass(frozen=True, slots=True)
class _Skill:
    name: str
    description: str
    path: PurePosixPath


async def skills_section(guest: Guest, env: Mapping[str, str]) -> str:
    """Return what a system prompt says about skills; empty if there are none.

    Args:
        guest: where they are.
        env: the session's environment; ``PI_CODING_AGENT_DIR`` or ``HOME`` say where they are.
    """
    lines: list[str] = []
    size = 0
    async for skill in _skills(guest, env):
        line = f"- {skill.name}: {skill.description} ({skill.path})"
        size += len(line) + 1
        if len(lines) == MAX_LISTED or size > MAX_SECTION_CHARS:
            break
        lines.append(line)
    if not lines:
        return ""
    intro = (
        "Skills are instructions for certain kinds of work. When a task fits the description of"
        " one, read its file first and follow it. Paths in it are relative to its folder."
    )
    return "\n".join(["## Skills", "", intro, "", *lines])


async def with_skill(
    prompt: str, guest: Guest, env: Mapping[str, str], on_warning: Callable[[str], None]
) -> str:
    """Replace a leading ``/skill:name arguments`` by the text of that skill.

    Args:
        prompt: left as it is unless its first line is such a command and the skill can be used.
        guest: as for `skills_section`.
        env: likewise; ``MAX_SKILL_CHARS`` bounds the text.
        on_warning: told why a skill is not used, or that it was cut.
    """
    first, _, rest = prompt.partition("\n")
    if not first.strip().startswith(_COMMAND):
        return prompt
    name, arguments = [*first.strip().removeprefix(_COMMAND).split(None, 1), "", ""][:2]
    max_chars = PiOptions.load(env).max_skill_chars
    try:
        path = await _file_of(guest, name, env)
        text = await _text(guest, path, 4 * max_chars + 4)
    except (UnusableSkill, OSError) as error:
        on_warning(f"the skill {name[:64]!r} is not used: {_why(error)}")
        return prompt
    if len(text) > max_chars:
        text = text[:max_chars]
        on_warning(f"the skill {name[:64]!r} was cut to {max_chars} characters")
    request = "\n".join(part for part in (arguments.strip(), rest) if part)
    return f"{text.strip()}\n\n---\n\nUser request: {request}"


async def skill_folders(guest: Guest, env: Mapping[str, str]) -> tuple[PurePosixPath, ...]:
    """Return the real folders of all skills, for tools that may read what is in them."""
    return tuple([path.parent async for path in _files(guest, env)])


def _root(env: Mapping[str, str]) -> PurePosixPath | None:
    options = PiOptions.load(env)
    agent_dir, home = options.coding_agent_dir, options.home
    if agent_dir:
        is_home = agent_dir.startswith("~/")
        expanded = PurePosixPath(home, agent_dir[2:]) if is_home else PurePosixPath(agent_dir)
        return expanded / "skills" if expanded.is_absolute() else None
    return PurePosixPath(home, ".pi/agent/skills") if home else None


async def _skills(guest: Guest, env: Mapping[str, str]) -> AsyncIterator[_Skill]:
    async for path in _files(guest, env):
        try:
            found = front_matter(await _text(guest, path, _HEAD_BYTES))
        except (UnusableSkill, OSError):
            continue
        name, about = found.get("name"), found.get("description")
        if name and about and found.get("disable-model-invocation") != "true":
            yield _Skill(name[:64], about[:MAX_DESCRIPTION_CHARS], path)


async def _files(guest: Guest, env: Mapping[str, str]) -> AsyncIterator[PurePosixPath]:
    root = _root(env)
    if root is None:
        return
    try:
        listing = await guest.files.list(str(root), limit=MAX_FOLDERS)
    except OSError:
        return
    for name in sorted(name for name, _ in listing.entries):
        if not name.startswith("."):
            try:
                yield await _file_of(guest, name, env)
            except (UnusableSkill, OSError):
                continue


async def _file_of(guest: Guest, name: str, env: Mapping[str, str]) -> PurePosixPath:
    """Return the real file of a skill.

    Links are followed as long as they stay in the home directory, where some installers keep the
    skills of all harnesses in one place, or below the folder of skills.
    """
    root = _root(env)
    if root is None or not name:
        msg = "there is no such skill"
        raise UnusableSkill(msg)
    path = root / _UNSAFE_IN_NAME.sub("_", name) / "SKILL.md"
    files = guest.files
    real = PurePosixPath(await files.real_path(str(path)))
    home = PiOptions.load(env).home or root
    allowed = [await files.real_path(str(place)) for place in (root, home)]
    # The name: a link may lead to another skill, not to just any file of the home directory.
    if real.name != "SKILL.md" or not any(real.is_relative_to(place) for place in allowed):
        msg = "its SKILL.md leads to something else, or out of the home directory"
        raise UnusableSkill(msg)
    found = await files.info(str(real))
    if found is None:
        msg = "there is no such skill"
        raise UnusableSkill(msg)
    if found.kind != "file":
        msg = "its SKILL.md is no file"
        raise UnusableSkill(msg)
    return real


async def _text(guest: Guest, path: PurePosixPath, max_bytes: int) -> str:
    text = (await guest.read(path, max_bytes=max_bytes)).decode("utf-8", "replace")
    if not text.strip():
        msg = "it is empty"
        raise UnusableSkill(msg)
    return text


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such skill"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
