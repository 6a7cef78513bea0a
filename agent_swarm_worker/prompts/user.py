"""Compose the user prompt, one template per kind of trigger, and steering messages.

A skill command (``/work-on-task <id>``) must be the first line, or the harness does not see it, so
all other sections go below it.

Names of attachments are untrusted input to a shell command that the agent runs. It writes to a
sanitised name, quoted, in a directory that the worker chooses.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from agent_swarm_worker.api.wire.tasks import (
    ChannelActivity,
    PoolTasksAvailable,
    TaskAssigned,
    TaskOffered,
    UnreadMentions,
)
from agent_swarm_worker.prompts.render import clean, join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import PurePath

    from agent_swarm_worker.api.wire.tasks import (
        Attachment,
        ChannelMessage,
        Requester,
        Task,
        Trigger,
    )
    from agent_swarm_worker.prompts.render import PromptBuild

_MESSAGE_CHARS = 200
_MAX_STEM_BYTES = 160
"""File systems take 255 bytes for a name, which includes a number and the extension."""
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHarness:
    """Facts about the harness that the user prompt depends on."""

    format_command: Callable[[str], str]
    has_mcp: bool = True
    download_dir: PurePath | None = None
    """Directory for attachments; ``None`` if the agent has no shell on this machine."""

    def command(self, name: str) -> str:
        """Return a swarm command in the harness's form; empty without the swarm's tools."""
        return self.format_command(name) if self.has_mcp else ""


async def trigger_prompt(build: PromptBuild, trigger: Trigger, harness: PromptHarness) -> str:
    """Return the prompt of a trigger; empty for one that starts no session."""
    match trigger:
        case TaskAssigned():
            kind, variables = "assigned", _assigned(trigger, harness)
        case TaskOffered():
            kind, variables = "offered", _offered(trigger, harness)
        case UnreadMentions():
            count = str(trigger.count) if trigger.count else "unread"
            kind, variables = "unread_mentions", {"mention_count": count}
        case PoolTasksAvailable():
            kind, variables = "pool_available", {"task_count": str(trigger.count)}
        case ChannelActivity():
            if not trigger.messages:
                return "There is news in the Slack channels you watch. Read it with `slack-read`."
            lines = "\n".join(_message_line(message) for message in trigger.messages)
            kind = "channel_activity"
            variables = {"message_count": str(trigger.count), "messages_detail": lines}
        case _:
            return ""
    return await build.required(f"task.trigger.{kind}", variables)


async def paused_prompt(build: PromptBuild, task: Task, harness: PromptHarness) -> str:
    """Return the prompt that continues a paused task of an older server (docs/api.md 5.7)."""
    progress = clean(task.progress or "").strip()
    variables = {
        "work_on_task_cmd": harness.command("work-on-task"),
        "task_id": task.id if harness.has_mcp else "",
        "task_description": clean(task.text),
        "progress": progress,
        "completion_instructions": _output_instructions(task, harness),
    }
    kind = "with_progress" if progress else "no_progress"
    return await build.required(f"task.resumption.{kind}", variables)


def directory_note(cwd: PurePath, source: Literal["task", "clone", "process"]) -> str:
    """Return the line that names the working directory; empty if it is the worker's own."""
    if source == "process":
        return ""
    why = "set on the task" if source == "task" else "the clone of the task's repository"
    return f"Working directory: `{clean(str(cwd))}` ({why})."


def compose(
    body: str,
    harness: PromptHarness,
    *,
    warning: str = "",
    preamble: str = "",
    memories: str = "",
    concurrent: str = "",
    note: str = "",
) -> str:
    """Join the sections of the user prompt; empty ones are left out.

    `body` is the result of `trigger_prompt` or `paused_prompt`, `note` of `directory_note`, and
    `concurrent` of `concurrent_work`.
    """
    commands = (harness.command("work-on-task"), harness.command("review-offered-task"))
    first, _, rest = body.partition("\n")
    command_line = ""
    if any(command and first.startswith(command) for command in commands):
        command_line, body = first.strip(), rest
    return join(command_line, warning, preamble, body, concurrent, memories, note)


def _assigned(trigger: TaskAssigned, harness: PromptHarness) -> dict[str, str]:
    task = trigger.task
    return {
        "work_on_task_cmd": harness.command("work-on-task"),
        "task_id": task.id if harness.has_mcp else "",
        "task_desc_section": f'\n\nTask: "{clean(task.text)}"{_requested_by(trigger.requested_by)}',
        "attachments_section": attachments_section(task.id, task.attachments, harness.download_dir),
        "output_instructions": _output_instructions(task, harness),
    }


def _offered(trigger: TaskOffered, harness: PromptHarness) -> dict[str, str]:
    text = clean(trigger.task.text)
    return {
        "review_offered_task_cmd": harness.command("review-offered-task"),
        "task_id": trigger.task.id if harness.has_mcp else "",
        "task_desc_section": f'\n\nThis task is offered to you:\n\n"{text}"',
    }


def _message_line(message: ChannelMessage) -> str:
    channel = one_line(message.channel_name or message.channel_id or "unknown", 100)
    user = one_line(message.user, 100) or "unknown"
    text = one_line(message.text, _MESSAGE_CHARS) or "(no text)"
    return f"- **#{channel}** (user: {user}): {text}"


def _requested_by(requester: Requester | None) -> str:
    if requester is None:
        return ""
    email = f" <{one_line(requester.email, 200)}>" if requester.email else ""
    return f"\n\nRequested by: {one_line(requester.name, 200)}{email}"


def _output_instructions(task: Task, harness: PromptHarness) -> str:
    if not harness.has_mcp:
        return ""
    if task.output_schema is None:
        return (
            "\n\nWhen you are done, call `store-progress` with status `completed` and your result"
            " as `output`."
        )
    schema = clean(json.dumps(task.output_schema, indent=2, ensure_ascii=False))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", schema)), default=0))
    return (
        "\n\nThis task must end with a call of `store-progress` with status `completed` and an"
        " `output` that is valid JSON for this schema:\n\n"
        f"{fence}json\n{schema}\n{fence}\n\n"
        "If the output is refused, mend it and call again."
    )


def attachments_section(
    task_id: str, attachments: Iterable[Attachment], directory: PurePath | None
) -> str:
    """Return the list of named attachments, each with a download command; empty if there are none.

    Without a `directory` there are no commands.
    """
    lines = []
    taken: set[str] = set()
    for item in attachments:
        if not item.name:
            continue
        size = f"{item.size_bytes} bytes" if item.size_bytes is not None else ""
        known = ", ".join(filter(None, (one_line(item.mime_type or "", 100), size)))
        label = one_line(item.name, 120).replace("`", "'")
        line = f"- {label} ({known})" if known else f"- {label}"
        if directory is not None:
            target = directory / _unique(safe_name(item.name), taken)
            line += f":\n  `{_download_command(task_id, item.id, target)}`"
        lines.append(line)
    if not lines:
        return ""
    return "\n\nAttachments of this task:\n" + "\n".join(lines)


def safe_name(name: str) -> str:
    """Return a file name without a path and without characters special to shells or options.

    Letters and digits of every script are kept.
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
    """Return `name`, numbered if it is in `taken`; case is ignored, as some file systems do."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        stem, extension = name, ""
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem}-{number}{dot}{extension}"
    taken.add(candidate.casefold())
    return candidate


def _download_command(task_id: str, attachment_id: str, target: PurePath) -> str:
    path = f"/api/fs/tasks/{quote(task_id, safe='')}/files/{quote(attachment_id, safe='')}/raw"
    return (
        f"mkdir -p {shlex.quote(str(target.parent))} && curl -sSf"
        ' -H "Authorization: Bearer ${AGENT_SWARM_API_KEY:-$API_KEY}"'
        ' -H "X-Agent-ID: $AGENT_ID"'
        f' "$MCP_BASE_URL{path}" -o {shlex.quote(str(target))}'
    )


async def delivery_text(build: PromptBuild, message_id: str, body: str) -> str:
    """Return a steering message in its envelope; the bare message if the envelope is empty."""
    text = clean(body)
    variables = {"steeringMessageId": message_id, "body": text}
    return (await build.text("system.agent.steering.delivery", variables)).strip() or text
