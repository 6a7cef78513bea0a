"""List the agent's skills in its system prompt, and replace skill commands in prompts.

Skills are where the pi command line has them, ``~/.pi/agent/skills/<name>/SKILL.md``; the worker's
sync or people write them.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent_swarm_worker.front_matter import front_matter
from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.text import text_of_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from agent_swarm_worker.contract import Guest

MAX_LISTED = 200
MAX_FOLDERS = 10_000
MAX_DESCRIPTION_CHARS = 500
MAX_SECTION_CHARS = 30_000
_HEAD_BYTES = 64 * 1024
_COMMAND = "/skill:"
_YES = frozenset({"true", "yes", "on"})
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")


class UnusableSkill(ValueError):
    """The skill does not exist, or its file cannot be used."""


async def skills_section(guest: Guest, env: Mapping[str, str]) -> str:
    """Return the section about skills for a system prompt; empty if there are none."""
    lines: list[str] = []
    size = 0
    async for path in _files(guest, env):
        line = await _line(guest, path)
        if not line:
            continue
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

    `on_warning` gets the reason if the skill cannot be used, and the prompt stays as it is; or if
    it is longer than ``MAX_SKILL_CHARS`` and was cut.
    """
    first, _, rest = prompt.partition("\n")
    if not first.strip().startswith(_COMMAND):
        return prompt
    name, arguments = [*first.strip().removeprefix(_COMMAND).split(None, 1), "", ""][:2]
    max_chars = PiOptions.load(env).max_skill_chars
    try:
        path = await _file_of(guest, name, env)
        text = await _read(guest, path, 4 * max_chars + 4)
    except (UnusableSkill, OSError) as error:
        on_warning(f"the skill {name[:64]!r} is not used: {_reason(error)}")
        return prompt
    if len(text) > max_chars:
        text = text[:max_chars]
        on_warning(f"the skill {name[:64]!r} was cut to {max_chars} characters")
    request = "\n".join(part for part in (arguments.strip(), rest) if part)
    return f"{text.strip()}\n\n---\n\nUser request: {request}"


async def skill_folders(guest: Guest, env: Mapping[str, str]) -> tuple[PurePosixPath, ...]:
    """Return the resolved folders of all skills, which tools may read."""
    return tuple([path.parent async for path in _files(guest, env)])


def _root(env: Mapping[str, str]) -> PurePosixPath | None:
    options = PiOptions.load(env)
    if not (options.home or options.coding_agent_dir) or not options.agent_dir.is_absolute():
        return None
    return PurePosixPath(options.agent_dir, "skills")


async def _line(guest: Guest, path: PurePosixPath) -> str:
    """Return the line that lists a skill; empty if the model is not to see it."""
    try:
        found = front_matter(await _read(guest, path, _HEAD_BYTES))
    except (UnusableSkill, OSError):
        return ""
    name, about = found.get("name"), found.get("description")
    is_hidden = found.get("disable-model-invocation", "").lower() in _YES
    if not name or not about or is_hidden:
        return ""
    return f"- {name[:64]}: {about[:MAX_DESCRIPTION_CHARS]} ({path})"


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
    """Return the resolved ``SKILL.md`` of a skill.

    Links may lead anywhere in the home directory, where some installers keep one folder of skills
    for all harnesses, or below the folder of skills.
    """
    root = _root(env)
    if root is None or not name:
        raise UnusableSkill("there is no such skill")
    path = root / _UNSAFE_IN_NAME.sub("_", name) / "SKILL.md"
    files = guest.files
    real = PurePosixPath(await files.real_path(str(path)))
    home = PiOptions.load(env).home or root
    allowed = [await files.real_path(str(folder)) for folder in (root, home)]
    # The name is checked too: a link may lead to another skill, not to any file of the home.
    if real.name != "SKILL.md" or not any(real.is_relative_to(folder) for folder in allowed):
        raise UnusableSkill("its SKILL.md leads to something else, or out of the home directory")
    found = await files.info(str(real))
    if found is None:
        raise UnusableSkill("there is no such skill")
    if found.kind != "file":
        raise UnusableSkill("its SKILL.md is no file")
    return real


async def _read(guest: Guest, path: PurePosixPath, max_bytes: int) -> str:
    text = text_of_file(await guest.read(path, max_bytes=max_bytes))
    if not text.strip():
        raise UnusableSkill("it is empty")
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such skill"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
