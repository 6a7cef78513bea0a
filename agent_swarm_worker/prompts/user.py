"""The user prompt: what the session is asked to do, one template per kind of trigger.

The command line of a harness's skill (``/work-on-task <id>``) must be the first line, or the
harness does not see it, so everything that is prepended goes right below it.

Telling an agent how to fetch the files that came with its task.

File names come from strangers. They end up in a shell command that the agent is asked to run, so
what is written to disk is a name of our own making, quoted, in a directory of our choice.

The envelope around a message that reaches an agent in the middle of its work.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from agent_swarm_worker.api.wire import (
    ChannelActivity,
    PoolTasksAvailable,
    TaskAssigned,
    TaskOffered,
    UnreadMentions,
)
from agent_swarm_worker.prompts.texts import clean, join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import PurePath

    from agent_swarm_worker.api.wire import Attachment, ChannelMessage, Requester, Task, Trigger
    from agent_swarm_worker.prompts.render import PromptBuild

_MESSAGE_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHarness:
    """What the user prompt has to know of the harness."""

    format_command: Callable[[str], str]
    has_mcp: bool = True
    download_dir: PurePath | None = None
    """Where attachments are to be fetched to; ``None`` if the agent has no shell here."""

    def command(self, name: str) -> str:
        """Return a swarm command as this harness wants it; without tools there are no commands."""
        return self.format_command(name) if self.has_mcp else ""


async def trigger_prompt(build: PromptBuild, trigger: Trigger, harness: PromptHarness) -> str:
    """Return the prompt of a trigger; empty for one that makes no session."""
    match trigger:
        case TaskAssigned():
            return await _assigned(build, trigger, harness)
        case TaskOffered():
            return await _offered(build, trigger, harness)
        case UnreadMentions():
            count = str(trigger.count) if trigger.count else "unread"
            return await _plain(build, "unread_mentions", {"mention_count": count})
        case PoolTasksAvailable():
            return await _plain(build, "pool_available", {"task_count": str(trigger.count)})
        case ChannelActivity():
            return await _channel_activity(build, trigger)
    return ""


async def paused_prompt(build: PromptBuild, task: Task, harness: PromptHarness) -> str:
    """Return the prompt that continues a task an older server had paused (docs/api.md 5.7)."""
    progress = clean(task.progress or "").strip()
    variables = {
        "work_on_task_cmd": harness.command("work-on-task"),
        "task_id": task.id if harness.has_mcp else "",
        "task_description": clean(task.text),
        "progress": progress,
        "completion_instructions": _output_instructions(task, harness),
    }
    kind = "with_progress" if progress else "no_progress"
    return (await build.required(f"task.resumption.{kind}", variables)).strip()


def directory_note(cwd: PurePath, source: Literal["task", "clone", "process"]) -> str:
    """Return the line that says where the session works; nothing where that is no news."""
    if source == "process":
        return ""
    why = "set on the task" if source == "task" else "the clone of the task's repository"
    return f"Working directory: `{clean(str(cwd))}` ({why})."


def compose(
    body: str,
    harness: PromptHarness,
    *,
    banner: str = "",
    preamble: str = "",
    memories: str = "",
    note: str = "",
) -> str:
    """Put a whole prompt together, as far as there is something to put.

    Args:
        body: what `trigger_prompt` or `paused_prompt` returned.
        harness: tells which commands a first line may hold.
        banner: a warning about the agent's profile.
        preamble: what came before this task.
        memories: what the swarm knows about it.
        note: see `directory_note`.
    """
    commands = (harness.command("work-on-task"), harness.command("review-offered-task"))
    first, _, rest = body.partition("\n")
    command_line = ""
    if any(command and first.startswith(command) for command in commands):
        command_line, body = first.strip(), rest
    return join(command_line, banner, preamble, body, memories, note)


async def _plain(build: PromptBuild, kind: str, variables: Mapping[str, str]) -> str:
    return (await build.required(f"task.trigger.{kind}", variables)).strip()


async def _assigned(build: PromptBuild, trigger: TaskAssigned, harness: PromptHarness) -> str:
    task = trigger.task
    variables = {
        "work_on_task_cmd": harness.command("work-on-task"),
        "task_id": task.id if harness.has_mcp else "",
        "task_desc_section": f'\n\nTask: "{clean(task.text)}"{_asked_by(trigger.requested_by)}',
        "attachments_section": attachments_section(task.id, task.attachments, harness.download_dir),
        "output_instructions": _output_instructions(task, harness),
    }
    return await _plain(build, "assigned", variables)


async def _offered(build: PromptBuild, trigger: TaskOffered, harness: PromptHarness) -> str:
    text = clean(trigger.task.text)
    variables = {
        "review_offered_task_cmd": harness.command("review-offered-task"),
        "task_id": trigger.task.id if harness.has_mcp else "",
        "task_desc_section": f'\n\nThis task is offered to you:\n\n"{text}"',
    }
    return await _plain(build, "offered", variables)


async def _channel_activity(build: PromptBuild, trigger: ChannelActivity) -> str:
    if not trigger.messages:
        return "There is news in the Slack channels you watch. Read it with `slack-read`."
    variables = {
        "message_count": str(trigger.count),
        "messages_detail": "\n".join(_message_line(message) for message in trigger.messages),
    }
    return await _plain(build, "channel_activity", variables)


def _message_line(message: ChannelMessage) -> str:
    channel = one_line(message.channel_name or message.channel_id or "unknown", 100)
    user = one_line(message.user, 100) or "unknown"
    text = one_line(message.text, _MESSAGE_CHARS) or "(no text)"
    return f"- **#{channel}** (user: {user}): {text}"


def _asked_by(requester: Requester | None) -> str:
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


async def delivery_text(build: PromptBuild, message_id: str, body: str) -> str:
    """Return the message as the agent reads it.

    If an operator switched the envelope off, or left nothing in it, the bare message is delivered:
    what somebody wrote must arrive.
    """
    text = clean(body)
    variables = {"steeringMessageId": message_id, "body": text}
    return (await build.text("system.agent.steering.delivery", variables)).strip() or text
