"""Decide a tool call by a policy: allow, deny, or ask a person. See docs/permissions.md."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from agent_swarm_worker.guards.permissions.paths import (
    FILE_ACTIONS,
    is_path_allowed,
    matches_host,
    may_be_path,
    may_meet,
)
from agent_swarm_worker.guards.permissions.policy import words_of
from agent_swarm_worker.guards.permissions.read_only import reads_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.guards.permissions.call import Call, Subject
    from agent_swarm_worker.guards.permissions.paths import CallPath
    from agent_swarm_worker.guards.permissions.policy import Policy, Rule
    from agent_swarm_worker.guards.permissions.shell import SimpleCommand
    from agent_swarm_worker.guards.permissions.shell_words import Word

Effect: TypeAlias = Literal["allow", "deny", "ask"]
_READING: Final = frozenset(
    {"read", "search", "find-files", "list-directory", "plan", "question", "skill", "subagent"}
    | {"housekeeping"}
)
_CHANGES = frozenset({"edit", "write"})
_STRICTEST: Final = ("deny", "ask", "allow")
MAX_LABEL_CHARS = 300
MAX_WORDS = 200
"""A command with more is denied by every rule that may deny it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says about a call."""

    effect: Effect
    reason: str


def decide(call: Call, policy: Policy) -> Decision:
    """Return the strictest decision about anything that the call does."""
    decisions = [_decide_one(subject, policy) for subject in call.subjects]
    if not decisions:
        return Decision("deny", "the call cannot be read")
    return min(decisions, key=lambda one: (_STRICTEST.index(one.effect), not one.reason))


def _decide_one(subject: Subject, policy: Policy) -> Decision:
    label = subject.label
    label = label if len(label) <= MAX_LABEL_CHARS else f"{label[:MAX_LABEL_CHARS]}…"
    is_outer = subject.command is not None and subject.command.is_outer
    if policy.mode == "bypass":
        return Decision("allow", "")
    for number, rule in enumerate(policy.rules if policy.mode != "read-only" else (), 1):
        if is_outer and rule.effect == "allow":
            continue
        if _applies(rule, subject):
            return Decision(rule.effect, f"rule {number} ({_shown(rule)}) applies to {label}")
    if is_outer:
        return Decision("allow", "")
    why = subject.command.unreadable if subject.command is not None else ""
    why = f": the shell command {why}" if why else ""
    if subject.is_swarms:
        return Decision("allow", "a tool of the swarm")
    if policy.mode == "rules":
        return Decision("deny", f"no rule allows {label}{why}")
    if _only_reads(subject):
        return Decision("allow", f"{label} only reads")
    if policy.mode == "ask":
        return Decision("ask", f"{label}{why}")
    return Decision("deny", f"the policy is read-only, and {label} may do more than read{why}")


def _shown(rule: Rule) -> str:
    text = str(rule)
    return text if len(text) <= MAX_LABEL_CHARS else f"{text[:MAX_LABEL_CHARS]}…"


def _only_reads(subject: Subject) -> bool:
    if subject.command is not None:
        return reads_only(subject.command, subject.homes)
    return subject.kind in _READING


def _applies(rule: Rule, subject: Subject) -> bool:
    """True if all conditions of a rule apply; one that does not allow also applies in doubt."""
    allows = rule.effect == "allow"
    kinds = {subject.kind} if allows else {subject.kind, subject.claimed}
    if rule.actions is not None and kinds.isdisjoint(rule.actions):
        return False
    if rule.tools is not None and not _matches_tool(rule.tools, subject, allows=allows):
        return False
    if rule.commands is not None:
        command = subject.command
        if command is None or not any(
            _begins_with(command, words_of_rule(one), allows=allows) for one in rule.commands
        ):
            return False
    is_for_any = rule.actions is None and rule.tools is None
    if rule.paths is not None:
        if allows and is_for_any and subject.kind not in FILE_ACTIONS:
            return False
        if not _matches_paths(rule.paths, subject, allows=allows):
            return False
    elif allows and subject.kind in _CHANGES and not _is_inside(subject):
        return False
    if rule.hosts is not None:
        if allows and is_for_any and subject.kind != "fetch":
            return False
        return _matches_hosts(rule.hosts, subject, allows=allows)
    return True


words_of_rule = lru_cache(maxsize=4096)(words_of)


def _matches_tool(patterns: tuple[str, ...], subject: Subject, *, allows: bool) -> bool:
    names = [name.lower() for name in (subject.names[:1] if allows else subject.names)]
    return any(fnmatch.fnmatchcase(name, one.lower()) for name in names for one in patterns)


def _is_inside(subject: Subject) -> bool:
    return bool(subject.paths) and all(path.is_inside for path in _all_paths(subject))


def _all_paths(subject: Subject) -> tuple[CallPath, ...]:
    """Return the paths that a call names, and those that it may name."""
    return (*(subject.paths or ()), *subject.other_paths)


def _matches_paths(patterns: tuple[str, ...], subject: Subject, *, allows: bool) -> bool:
    if allows:
        if subject.command is not None or not subject.paths:
            return False
        return all(
            any(is_path_allowed(path, one) for one in patterns) for path in _all_paths(subject)
        )
    if subject.paths is None:
        return True  # it may be any file
    below = subject.command is not None  # a search by a pattern is no more than one of all files
    return any(may_be_path(path, one) for path in subject.paths for one in patterns) or any(
        may_meet(path, one, below=below) for path in subject.globs for one in patterns
    )


def _matches_hosts(patterns: tuple[str, ...], subject: Subject, *, allows: bool) -> bool:
    if subject.kind == "fetch" and (not subject.hosts or "" in subject.hosts):
        return not allows
    if allows and subject.command is not None:
        return False
    matched = [any(matches_host(host, one) for one in patterns) for host in subject.hosts]
    return (bool(matched) and all(matched)) if allows else any(matched)


def _begins_with(command: SimpleCommand, prefix: tuple[str, ...], *, allows: bool) -> bool:
    """True if a command certainly begins with these words; or if not `allows`, perhaps."""
    words = command.words
    if allows:
        known = [word.text for word in words[: len(prefix)] if word.is_known]
        return not command.unreadable and tuple(known) == prefix
    if command.unreadable or command.runs_more:
        return True
    if words[0].text.rpartition("/")[2] != prefix[0].rpartition("/")[2]:
        return False
    return len(words) > MAX_WORDS or _may_contain(words[1:], prefix[1:])


def _may_contain(words: Sequence[Word], prefix: tuple[str, ...]) -> bool:
    """True if the words may begin with the prefix, options between them left aside."""
    if not prefix:
        return True
    after_option = False
    for number, word in enumerate(words):
        if not word.is_known:
            return True
        if word.text == prefix[0] and _may_contain(words[number + 1 :], prefix[1:]):
            return True
        is_option = word.text.startswith("-")
        if not is_option and not after_option:
            return False
        after_option = is_option
    return False
