"""The operator's permission policy: its models, and reading it from a TOML file."""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent_swarm_worker.contract.permissions import PolicyMode
from agent_swarm_worker.contract.spec import ActionKind
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.guards.permissions.paths import FILE_ACTIONS, check_pattern
from agent_swarm_worker.guards.permissions.wrappers import program_name
from agent_swarm_worker.settings.base import SettingsModel, operator_only

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FILE_BYTES = 1 << 20
APPROVAL_TIMEOUT_S = 1800.0
_WITH_PATHS = FILE_ACTIONS | {"shell", "mcp", "other"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)
_HOST = re.compile(r"[\w.*?\[\]!-]+|\[?[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.*?]*\]?")
"""A name or a pattern, or an IPv6 address, but no address with a scheme, a path or a port."""
_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Texts = Annotated[tuple[_Text, ...], Field(min_length=1, max_length=1000)]


class Rule(BaseModel):
    """Allows, denies or asks about the calls to which all of its conditions apply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effect: Literal["allow", "deny", "ask"]
    actions: Annotated[tuple[ActionKind, ...], Field(min_length=1)] | None = None
    """Kinds of action, such as ``shell``, ``edit``, ``fetch``."""
    tools: _Texts | None = None
    """Names of tools as shell patterns, such as ``mcp__github__*``; case is ignored."""
    commands: _Texts | None = None
    """Beginnings of shell commands in whole words, such as ``git status``."""
    paths: _Texts | None = None
    """Patterns of files, relative to the session's directory, or absolute."""
    hosts: _Texts | None = None
    """Patterns of host names, such as ``*.example.com``."""

    @field_validator("commands")
    @classmethod
    def _plain_words(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for command in value or ():
            words_of(command)
        return value

    @field_validator("paths")
    @classmethod
    def _within_the_directory(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for path in value or ():
            check_pattern(path)
            if path.startswith("~") or ".." in path.split("/") or "\0" in path:
                msg = f"{path!r}: ~ and .. cannot be used; write an absolute path"
                raise ValueError(msg)
        return value

    @field_validator("hosts")
    @classmethod
    def _names_of_hosts(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for host in value or ():
            if not _HOST.fullmatch(host):
                msg = f"{host!r} fits no host: expected its name alone, such as *.example.com"
                raise ValueError(msg)
        return value

    @field_validator("commands", "paths", "hosts", "tools", mode="before")
    @classmethod
    def _a_list(cls, value: object) -> object:
        if isinstance(value, str):
            msg = f"expected a list, such as [{value!r}]"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports a ValueError with its place
        return value

    def check(self) -> None:
        """Raise `ValueError` if the conditions can never apply together."""
        if self.effect == "allow" and self.commands and self.paths:
            msg = "a rule that allows commands cannot have paths: what a program does is not known"
            raise ValueError(msg)
        kinds = frozenset(self.actions or ())
        if kinds and self.commands and "shell" not in kinds:
            msg = "a rule with commands applies to the action shell only"
            raise ValueError(msg)
        if kinds and self.paths and not kinds & _WITH_PATHS:
            msg = f"a rule with paths does not apply to {', '.join(sorted(kinds))}"
            raise ValueError(msg)

    def model_post_init(self, _: Any) -> None:
        """Check the conditions together."""
        self.check()

    def __str__(self) -> str:
        conditions = (
            f"{name} {', '.join(value)}"
            for name in ("actions", "tools", "commands", "paths", "hosts")
            if (value := getattr(self, name)) is not None
        )
        return f"{self.effect} {'; '.join(conditions) or 'everything'}"


class PermissionSettings(BaseModel):
    """What a file of rules, or a profile, says about permissions; ``None``: nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicyMode | None = None
    rules: Annotated[tuple[Rule, ...], Field(max_length=1000)] | None = None
    approval_timeout_s: Annotated[float, Field(gt=0, le=604_800)] | None = None
    """How long a person may take to answer."""

    @field_validator("approval_timeout_s", mode="before")
    @classmethod
    def _a_number(cls, value: object) -> object:
        if isinstance(value, bool):
            msg = "expected a number of seconds"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports a ValueError with its place
        return value

    def model_post_init(self, _: Any) -> None:
        """Refuse rules that would not be looked at."""
        if self.policy == "bypass" and self.rules:
            msg = "the policy bypass has no rules; leave it out, or the rules"
            raise ValueError(msg)


class Policy(BaseModel):
    """The policy in force for a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: PolicyMode = "bypass"
    rules: tuple[Rule, ...] = ()
    approval_timeout_s: float = APPROVAL_TIMEOUT_S

    def overridden(self, settings: PermissionSettings | None) -> Policy:
        """Return this policy with what `settings` say instead."""
        if settings is None:
            return self
        mode, given = settings.policy or self.mode, settings.approval_timeout_s
        if settings.policy is None and settings.rules and mode == "bypass":
            mode = "rules"
        return Policy(
            mode=mode,
            rules=self.rules if settings.rules is None else settings.rules,
            approval_timeout_s=self.approval_timeout_s if given is None else given,
        )


class PermissionOptions(SettingsModel):
    """The variables of the permission policy (docs/permissions.md)."""

    # --- permissions
    permissions: PolicyMode | None = operator_only("SWARM_PERMISSIONS")
    """What an agent may do: everything (``bypass``, the default), only read (``read-only``), what
    the operator's rules allow (``rules``), or what they or a person allow (``ask``); see
    [permissions.md](permissions.md)."""
    rules_file: Path | None = operator_only("SWARM_PERMISSION_RULES")
    """TOML file with the rules; read at the start. With it the default is ``rules``."""
    approval_timeout_s: float | None = operator_only("SWARM_APPROVAL_TIMEOUT_S", gt=0, le=604_800)
    """How long a session waits for a person to answer; then the call is denied. 1800 by default."""


def operator_policy(env: Mapping[str, str]) -> Policy:
    """Return the policy of the worker's environment; raises `BadSetting`."""
    options = PermissionOptions.load(env)
    policy = Policy()
    if options.rules_file is not None:
        policy = policy.overridden(read_settings(options.rules_file))
        if policy.mode == "bypass" and options.permissions is None:
            policy = policy.model_copy(update={"mode": "rules"})
    changed = PermissionSettings(
        policy=options.permissions, approval_timeout_s=options.approval_timeout_s
    )
    policy = policy.overridden(changed)
    if policy.mode == "rules" and options.rules_file is None:
        why = "it needs SWARM_PERMISSION_RULES, or everything would be denied"
        raise BadSetting("SWARM_PERMISSIONS", "rules", why)
    return policy


def read_settings(path: Path) -> PermissionSettings:
    """Read a TOML file; `BadSetting` names the first thing that is wrong with it."""
    name = "SWARM_PERMISSION_RULES"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadSetting(name, str(path), error.strerror or type(error).__name__) from None
    except ValueError as error:  # such as a NUL in the path
        raise BadSetting(name, repr(str(path)), str(error)) from None
    if len(content) > MAX_FILE_BYTES:
        raise BadSetting(name, str(path), f"it is larger than {MAX_FILE_BYTES:,} bytes")
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise BadSetting(name, str(path), f"it is no TOML: {error}") from None
    try:
        return PermissionSettings.model_validate(table)
    except ValidationError as error:
        raise BadSetting(name, str(path), first_problem(error)) from None


def first_problem(error: ValidationError) -> str:
    """Return the first problem with a place, such as ``rules[2].efect: …``, and a near name."""
    problems = error.errors()
    misspelt = (one for one in problems if one["type"] == "extra_forbidden")
    problem = next(misspelt, problems[0])
    place = ""
    for part in problem["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif not part.startswith(("tuple[", "constrained", "literal[", "function-")):
            place += f".{part}" if place else part
    why = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        model = Rule if len(problem["loc"]) > 1 else PermissionSettings
        near = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
        known = f"did you mean {near[0]}?" if near else f"known are {', '.join(model.model_fields)}"
        why = f"unknown key; {known}"
    elif problem["type"] == "literal_error":
        near = difflib.get_close_matches(str(problem["input"]), _CHOICES, n=1, cutoff=0.5)
        why += f"; did you mean {near[0]}?" if near else ""
    return f"{place}: {why[:1].lower()}{why[1:]}"


_CHOICES = (*get_args(PolicyMode), *get_args(ActionKind), "allow", "deny", "ask")


def words_of(command: str) -> tuple[str, ...]:
    """Return the words of a rule's command; raises `ValueError`."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        msg = f"{command!r}: {error}"
        raise ValueError(msg) from None
    if not words:
        msg = "a command has at least one word"
        raise ValueError(msg)
    for word in words:
        if set(word) & set("*?`$;|&<>()\n"):
            msg = (
                f"{command!r} has {word!r}: a command is a beginning in plain words, and applies"
                " whatever follows"
            )
            raise ValueError(msg)
    if words[0][:1] in {"", "#", "-"} or _ASSIGNMENT.match(words[0]):
        msg = f"{command!r} fits no command: expected a program first, {words[0]!r} is none"
        raise ValueError(msg)
    return (program_name(words[0]), *words[1:])
