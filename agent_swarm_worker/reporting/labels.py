"""Make a short progress line of a tool call, for the task's progress text (docs/api.md 5.9)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent_swarm_worker.api.values import encode
from agent_swarm_worker.contract.actions import USUAL_TOOLS, action_of, canonical_name, kind_of
from agent_swarm_worker.text import one_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import ActionKind, Helper, PermissionDecided
    from agent_swarm_worker.contract.actions import Action

MAX_LABEL_CHARS = 300
MAX_HELPER_CHARS = 60
MAX_REASON_CHARS = 1500

_UNTOLD = frozenset({"plan", "housekeeping"})
_SWARM_SERVER = "agent-swarm"
_OWN_REPORT = "store-progress"
_ACRONYMS = re.compile(r"\b(?:mcp|kv|api|url|id)\b", re.IGNORECASE)


def label(
    tool_name: str,
    args: Any,
    *,
    scrub: Callable[[str], str] = str,
    tools: Mapping[str, ActionKind] = USUAL_TOOLS,
    helper: Helper | None = None,
) -> str | None:
    """Return one line for a tool call; nothing for housekeeping and for progress reports.

    `scrub` replaces secrets, before the text is cut; `tools` has the actions of the harness's own
    tools, by their name in lower case; `helper` is the one who calls.
    """
    text = _label(tool_name, args, tools)
    if not text:
        return None
    if helper is None:
        return one_line(scrub(plain(text)), MAX_LABEL_CHARS)
    return one_line(f"{helper_name(helper, scrub)}: {scrub(plain(text))}", MAX_LABEL_CHARS)


def helper_name(helper: Helper, scrub: Callable[[str], str] = str) -> str:
    """Return a helper's name for people."""
    return f"🤖 {one_line(scrub(plain(helper.name)), MAX_HELPER_CHARS) or 'helper'}"


def decision_line(event: PermissionDecided, scrub: Callable[[str], str] = str) -> bytes:
    """Return the line of the session's log about a permission, readable as progress."""
    reason = one_line(scrub(plain(event.reason)), MAX_REASON_CHARS)
    name = one_line(scrub(plain(event.tool_name)), MAX_HELPER_CHARS)
    verb = "✓ Allowed" if event.is_allowed else "✗ Denied"
    decision = {"toolName": name, "toolCallId": one_line(event.tool_call_id, MAX_LABEL_CHARS)}
    about: dict[str, Any] = {**decision, "allowed": event.is_allowed, "reason": reason}
    text = f"{verb}: {name}" + (f" ({reason})" if reason else "")
    return encode({"type": "progress", "message": text, "permission": about}) + b"\n"


def has_label(tool_name: str, args: Any, *, tools: Mapping[str, ActionKind] = USUAL_TOOLS) -> bool:
    """True if `label` returns a text for this call."""
    name = canonical_name(tool_name, args, tools)
    return kind_of(name, tools) not in _UNTOLD and not _is_own_report(name)


def _label(tool_name: str, args: Any, tools: Mapping[str, ActionKind]) -> str | None:
    name = canonical_name(tool_name, args, tools)
    action = action_of(tool_name, args, tools)
    if action.kind in _UNTOLD or _is_own_report(name):
        return None
    if name.startswith("mcp__"):
        return _mcp_label(name)
    return _builtin_label(action) or _swarm_label(tool_name) or f"🔧 {_humanise(name)}"


def _is_own_report(name: str) -> bool:
    """True for the swarm tool by which an agent reports its progress."""
    if name.lower().replace("_", "-") == _OWN_REPORT:
        return True
    if not name.startswith("mcp__"):
        return False
    server, _, tool = name.removeprefix("mcp__").partition("__")
    return server.replace("_", "-") == _SWARM_SERVER and tool.replace("_", "-") == _OWN_REPORT


def _mcp_label(name: str) -> str:
    server, _, tool = name.removeprefix("mcp__").partition("__")
    if server.replace("_", "-") != _SWARM_SERVER:
        return f"🔌 {server}: {_humanise(tool)}" if tool else f"🔌 {_humanise(server)}"
    return _swarm_label(tool) or f"🔌 {_humanise(tool)}"


def _builtin_label(action: Action) -> str | None:
    subject, description = action.subject, action.description
    match action.kind:
        case "read":
            return f"📖 Reading {_short_path(subject)}"
        case "edit":
            return f"✏️ Editing {_short_path(subject)}"
        case "write":
            return f"📝 Writing {_short_path(subject)}"
        case "shell":  # the command may be long, and hold more than the task's readers should see
            return f"⚡ {description or 'Running a command'}"
        case "search":
            return f'🔍 Searching for "{subject or "text"}"'
        case "find-files":
            return f"📁 Looking for {subject or 'files'}"
        case "list-directory":
            is_here = subject in ("", ".")
            return f"📁 Listing {'the directory' if is_here else _short_path(subject)}"
        case "web-search":
            return f'🌐 Searching the web for "{subject}"' if subject else "🌐 Searching the web"
        case "fetch":
            return f"🌐 Fetching {_host(subject)}"
        case "subagent":
            return f"🤖 {description or subject or 'Starting a helper'}"
        case "skill":
            return f"⚙️ Using /{subject}" if subject else "⚙️ Using a skill"
        case "question":
            return f"❓ {subject or 'Asking a question'}"
    return None


def _short_path(path: str) -> str:
    return "/".join(re.split(r"[/\\]+", path.rstrip("/\\"))[-2:]) or "a file"


def _host(url: str) -> str:
    """Return a URL's host; its path and query may be anything."""
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname or "a page"
    except ValueError:
        return "a page"


def _humanise(name: str) -> str:
    """``create_issue-id`` becomes ``Create issue ID``."""
    text = re.sub(r"[-_]+", " ", name).strip()
    sentence = text[:1].upper() + text[1:]
    return _ACRONYMS.sub(lambda match: match.group().upper(), sentence) or "Using a tool"


_TABLE = """
📋 get-tasks                 Going through the task list
📋 get-task-details          Reading a task
📡 poll-task                 Asking for a task
📤 send-task                 Handing a task to another agent
📤 offer-task                Offering a task to another agent
⚡ task-action               Acting on a task
⚡ accept-steer              Taking in a message
⚡ steer-task                Steering a running task
⚡ defer-task                Putting a task off
🚫 cancel-task               Cancelling a task
🙋 request-human-input       Asking a human
🔗 join-swarm                Joining the swarm
👥 get-swarm                 Seeing who is in the swarm
🪪 my-agent-info             Looking up who I am
🪪 update-profile            Updating my profile
📜 context-history           Reading how a profile changed
📜 context-diff              Comparing two versions of a profile
💬 post-message              Writing to another agent
💬 read-messages             Reading messages
📢 list-channels             Listing channels
📢 create-channel            Opening a channel
📢 delete-channel            Removing a channel
💬 slack-post                Writing to Slack
💬 slack-start-thread        Opening a Slack thread
💬 slack-reply               Answering in Slack
💬 slack-read                Reading Slack
💬 slack-update              Editing a Slack message
💬 slack-delete              Removing a Slack message
💬 slack-list-channels       Listing Slack channels
💬 slack-create-channel      Opening a Slack channel
💬 slack-invite-to-channel   Inviting people to a Slack channel
💬 slack-archive-channel     Archiving a Slack channel
📥 slack-download-file       Fetching a file from Slack
📤 slack-upload-file         Sending a file to Slack
💬 send-whatsapp-message     Writing on WhatsApp
💬 reply-whatsapp-message    Answering on WhatsApp
🔗 register-kapso-number     Connecting a WhatsApp number
🔗 unregister-kapso-number   Disconnecting a WhatsApp number
🔗 register-agentmail-inbox  Connecting a mailbox
🗃️ db-query                  Querying the database
🧠 memory-search             Searching memory
🧠 memory-get                Recalling a memory
🧠 memory-store              Remembering something
🧠 memory-edit               Correcting a memory
🧠 memory-delete             Forgetting a memory
🧠 memory-rate               Rating a memory
🧠 inject-learning           Passing on a lesson
👤 resolve-user              Finding out who a user is
👤 manage-user               Updating a user
🔑 kv-get                    Reading a stored value
🔑 kv-set                    Storing a value
🔑 kv-list                   Listing stored values
🔑 kv-delete                 Removing a stored value
🔑 kv-incr                   Counting up a stored value
📊 tracker-status            Asking the tracker for its state
📊 tracker-sync-status       Bringing the tracker up to date
🔗 tracker-link-task         Linking a task to the tracker
🔗 tracker-unlink            Unlinking a task from the tracker
🔗 tracker-map-agent         Matching an agent with a tracker user
🔑 get-oauth-access-token    Getting an access token
📊 get-metrics               Reading metrics
📊 create-metric             Defining a metric
⚙️ trigger-workflow          Starting a workflow
⚙️ list-workflows            Listing workflows
⚙️ get-workflow              Reading a workflow
⚙️ create-workflow           Building a workflow
⚙️ update-workflow           Rewriting a workflow
⚙️ patch-workflow            Changing a workflow
⚙️ patch-workflow-node       Changing a step of a workflow
⚙️ delete-workflow           Removing a workflow
⚙️ list-workflow-runs        Listing workflow runs
⚙️ get-workflow-run          Looking at a workflow run
⚙️ retry-workflow-run        Repeating a workflow run
⚙️ cancel-workflow-run       Stopping a workflow run
⚙️ get-config                Reading a setting
⚙️ list-config               Listing settings
⚙️ set-config                Changing a setting
⚙️ delete-config             Removing a setting
⚙️ get-repos                 Listing repositories
⚙️ update-repo               Changing a repository's settings
⚙️ list-services             Listing services
⚙️ register-service          Announcing a service
⚙️ unregister-service        Withdrawing a service
⚙️ update-service-status     Reporting on a service
⚙️ list-prompt-templates     Listing prompt templates
⚙️ get-prompt-template       Reading a prompt template
⚙️ set-prompt-template       Changing a prompt template
⚙️ delete-prompt-template    Removing a prompt template
⚙️ preview-prompt-template   Trying a prompt template
⚙️ mcp-server-list           Listing tool servers
⚙️ mcp-server-get            Reading a tool server's settings
⚙️ mcp-server-create         Adding a tool server
⚙️ mcp-server-update         Changing a tool server
⚙️ mcp-server-delete         Removing a tool server
⚙️ mcp-server-install        Installing a tool server
⚙️ mcp-server-uninstall      Uninstalling a tool server
🔎 skill-search              Searching for a skill
🔎 skill-list                Listing skills
🔎 skill-get                 Reading a skill
🔎 skill-get-file            Reading a file of a skill
📦 skill-create              Writing a skill
📦 skill-update              Changing a skill
📦 skill-delete              Removing a skill
📦 skill-install             Installing a skill
📦 skill-uninstall           Uninstalling a skill
📦 skill-install-remote      Installing a skill from elsewhere
📦 skill-sync-remote         Updating skills from elsewhere
📦 skill-publish             Publishing a skill
📅 list-schedules            Listing schedules
📅 create-schedule           Setting up a schedule
📅 update-schedule           Rewriting a schedule
📅 patch-schedule            Changing a schedule
📅 delete-schedule           Removing a schedule
📅 run-schedule-now          Running a schedule at once
📜 script-search             Searching for a script
📜 script-run                Running a script
📜 script-upsert             Saving a script
📜 script-delete             Removing a script
📜 script-query-types        Looking up types for scripts
📜 script-apis               Looking up what scripts may call
📜 script-connections        Looking up connections for scripts
📜 launch-script-run         Starting a long script
📜 get-script-run            Looking at a script run
📜 list-script-runs          Listing script runs
📤 create-page               Publishing a page
📤 delete-page               Withdrawing a page
"""

_ROWS = (row.split(maxsplit=2) for row in _TABLE.strip().splitlines())
_LABELS = {name: f"{emoji} {text}" for emoji, name, text in _ROWS}


def _swarm_label(tool: str) -> str | None:
    # The server, or a harness that allows no hyphen, writes some names with underscores.
    return _LABELS.get(tool.lower().replace("_", "-"))
