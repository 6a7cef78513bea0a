"""Telling an agent how to fetch the files that came with its task.

File names come from strangers. They end up in a shell command that the agent is asked to run, so
what is written to disk is a name of our own making, quoted, in a directory of our choice.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote

from agent_swarm_worker.prompts.texts import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePath

    from agent_swarm_worker.swarm.wire import Attachment

_MAX_STEM_BYTES = 160
"""File systems take 255 bytes for a name; a number and the extension need some of them."""

_UNSAFE = re.compile(r"[^\w.-]+")


def attachments_section(
    task_id: str, attachments: Iterable[Attachment], directory: PurePath | None
) -> str:
    """Return the list of attachments with a command for each; empty if there are none.

    Args:
        task_id: the task they belong to.
        attachments: those without a name are left out.
        directory: where the commands put the files; ``None`` if the agent has no shell here.
    """
    lines = []
    taken: set[str] = set()
    for item in attachments:
        if not item.name:
            continue
        facts = [one_line(item.mime_type or "", 100)]
        facts.append(f"{item.size_bytes} bytes" if item.size_bytes is not None else "")
        known = ", ".join(fact for fact in facts if fact)
        label = one_line(item.name, 120).replace("`", "'")
        line = f"- {label} ({known})" if known else f"- {label}"
        if directory is not None:
            target = directory / _unique(safe_name(item.name), taken)
            line += f":\n  `{_recipe(task_id, item.id, target)}`"
        lines.append(line)
    if not lines:
        return ""
    return "\n\nAttachments of this task:\n" + "\n".join(lines)


def safe_name(name: str) -> str:
    """Return a file name without a path, or anything that a shell or an option parser would see.

    Letters and digits of every script stay, and so does the extension.
    """
    normal = unicodedata.normalize("NFC", clean(name).replace("\\", "/"))
    last = normal.rstrip("/").rsplit("/", 1)[-1]
    flat = _UNSAFE.sub("_", last).strip("._-")
    stem, dot, extension = flat.rpartition(".")
    if not dot or len(extension) > 12:
        stem, dot, extension = flat, "", ""
    stem = stem.encode()[:_MAX_STEM_BYTES].decode(errors="ignore")
    return f"{stem}{dot}{extension}" or "attachment"


def _unique(name: str, taken: set[str]) -> str:
    """Return `name`, numbered if it is taken; file systems may not tell upper from lower case."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        stem, extension = name, ""
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem}-{number}{dot}{extension}"
    taken.add(candidate.casefold())
    return candidate


def _recipe(task_id: str, attachment_id: str, target: PurePath) -> str:
    path = f"/api/fs/tasks/{quote(task_id, safe='')}/files/{quote(attachment_id, safe='')}/raw"
    return (
        f"mkdir -p {shlex.quote(str(target.parent))} && curl -sSf"
        ' -H "Authorization: Bearer ${AGENT_SWARM_API_KEY:-$API_KEY}"'
        ' -H "X-Agent-ID: $AGENT_ID"'
        f' "$MCP_BASE_URL{path}" -o {shlex.quote(str(target))}'
    )
