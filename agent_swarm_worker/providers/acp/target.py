"""Describe one agent that speaks ACP: everything in which such agents differ.

The protocol leaves much open: how an agent stops asking for permission, what a second prompt does,
whether a failed model request is an error or an answer. A `Target` says it for one agent; a new one
is as good as its defaults, which assume as little as possible.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from agent_swarm_worker.providers.kit.permissions import UnguardedSession

if TYPE_CHECKING:
    from collections.abc import Mapping

FULL_AUTO_MODES = (
    "bypassPermissions",
    "agent-full-access",
    "yolo",
    "auto-high",
    "auto-approve",
    "full-access",
    "full-auto",
)
"""Session modes in which an agent asks nobody; the first that it offers is set."""

ASKING_MODES = ("default", "ask", "manual", "normal")
"""Likewise, in which it asks before it does something."""

SystemPromptDelivery: TypeAlias = Literal["prompt", "rules", "launch"]
"""Where the system prompt goes if the agent does not take one with the session: in front of the
first prompt, into ``_meta.rules``, or into a file that the launch names."""

ToolNames: TypeAlias = Literal["", "title", "id"]
"""Where an agent itself names the tool of a call, besides ``name`` and ``_meta``: in the title that
the call begins with, or in its id. Under a policy nothing else is believed."""


def _no_entries() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How an agent is started so that it asks for permission."""

    env: Mapping[str, str] = field(default_factory=_no_entries)
    """Variables that override all others."""
    modes: tuple[str, ...] = ASKING_MODES
    options: Mapping[str, str] = field(default_factory=_no_entries)
    """Configuration options that are set if the agent has them."""
    code_places: tuple[str, ...] = ()
    """Folders and files of a repository that make it run programs whatever its settings are: with
    one of them a session is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One agent."""

    name: str
    """For people, as it begins a sentence."""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=_no_entries)
    """Variables that every session gets, unless they are set."""
    env_keys: tuple[str, ...] = ()
    """Variables of the worker that a session with few variables gets all the same."""
    model_variable: str = ""
    """The variable that names the model at the start."""
    model_option: str = ""
    """The option of the command line that does."""
    modes: tuple[str, ...] = FULL_AUTO_MODES
    options: Mapping[str, str] = field(default_factory=_no_entries)
    """Configuration options that are set if the agent has them, as they end its asking, too."""
    asking: Asking | None = field(default_factory=Asking)
    """``None``: it asks nobody, so it does not run under a permission policy."""
    system_prompt: SystemPromptDelivery = "prompt"
    can_load: bool = True
    """Whether ``session/load`` may be tried."""
    steering: Literal["", "prompt", "queue"] = ""
    """How a message reaches the running turn if the agent has no method for it: as a second
    prompt, or with the answer to its own question for messages."""
    usage: Literal["turn", "last", "session"] = "turn"
    """What the usage in the answer to a prompt covers: the turn, its last model request, or all
    turns of the session so far."""
    reports_usage: bool = False
    """Every successful turn has a usage, so one without is a failure."""
    has_text_errors: bool = False
    """A failed model request ends the turn as success, with the text ``Error: …``."""
    tool_names: ToolNames = ""
    notices: tuple[str, ...] = ()
    """Regular expressions for text that the program adds to the model's answer."""
    ready_notification: str = ""
    """The notification that the tool servers are connected; before it, a prompt finds no tools."""
    stays: bool = False
    """It does not exit at the end of its input while a tool server is connected."""
    has_late_usage: bool = False
    """The last usage comes after the answer to the prompt."""
    refuses_requests: bool = False
    """Permission is refused: the mode that was chosen is a limit."""
    mcp_file: Literal["", "cline", "pi"] = ""
    """The file in which it reads tool servers, as it drops those of the session silently."""
    session_files: tuple[tuple[str, str], ...] = ()
    """Where it keeps sessions: folders below the home directory and patterns with ``{id}``; empty
    if that does not tell, and the worker keeps a note of its own."""

    def guarded(self) -> Target:
        """Return the agent as one that asks; raises `UnguardedSession` if it cannot."""
        asking = self.asking
        if asking is None:
            raise UnguardedSession(self.name, "it asks nobody for permission")
        env = {**self.env, **asking.env}
        return replace(self, env=env, modes=asking.modes, options=asking.options)


CUSTOM = Target(name="The agent")
