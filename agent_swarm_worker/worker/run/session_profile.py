"""Chooses the harness profile of a session, and starts from its catalogue the servers it names.

The worker's own profile counts unless a tag of the task chooses another: docs/harness-profiles.md.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anyio import to_thread

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.guards.permissions.policy import PermissionSettings
from agent_swarm_worker.guards.scrubbing.secret_names import is_secret_name
from agent_swarm_worker.harness_profiles.model import REFERENCE
from agent_swarm_worker.harness_profiles.names import CHOICES, parse_name
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import spec_of
from agent_swarm_worker.settings import named
from agent_swarm_worker.worker.run.launch_files import MIN_SECRET_CHARS, SessionMcpServers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import Guest, ProviderAdapter, Redactor
    from agent_swarm_worker.guards.permissions.policy import Policy
    from agent_swarm_worker.harness_profiles.model import CatalogueServer
    from agent_swarm_worker.harness_profiles.names import HarnessProfile, ProfileName
    from agent_swarm_worker.harness_profiles.profiles import HarnessProfiles, ProfileStore
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.boot.parts import SessionParts

TAG = "profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionProfile:
    """The harness profile of one session."""

    profile: HarnessProfile
    env: Mapping[str, str]
    """The environment in force with the profile's variables, before any is withheld."""
    servers: Mapping[str, CatalogueServer]
    """Those of the catalogue that the profile names."""
    notes: tuple[str, ...] = ()
    """What was ignored, for the session's log."""


async def session_profile(
    worker: SessionParts, adapter: ProviderAdapter, row: Task | None, log: Log
) -> SessionProfile:
    """Read the files again, and return the harness profile of a session.

    Raises:
        ConfigError: the task chose one that it may have, and that cannot be used.
    """
    store = worker.harness.profiles
    files = await to_thread.run_sync(store.read)
    own = store.own_in(files, adapter.name)
    if adapter is worker.harness.adapter:
        worker.harness.profile = own
    chosen, notes = task_choice(row.tags if row else (), store, own.name)
    for note in notes:
        log.warning(Event.HARNESS_PROFILE, why=note)
    profile = own if chosen is None else _limited(worker, files, chosen, own)
    worker.scrubber.add_env(profile.variables)
    return SessionProfile(
        profile=profile,
        env={**worker.environment.values(profile.permissions), **profile.variables},
        servers={name: files.servers[name] for name in profile.mcp},
        notes=tuple(notes),
    )


def task_choice(
    tags: Iterable[str], store: ProfileStore, own: ProfileName
) -> tuple[ProfileName | None, list[str]]:
    """Return the harness profile that the last allowed tag names, and notes on ignored tags.

    A name without a colon is a variant of the worker's own harness.
    """
    allowed = {parse_name(text, harness=own.harness) for text in store.settings.task_choices}
    chosen: ProfileName | None = None
    notes: list[str] = []
    for tag in tags:
        key, _, text = tag.partition(":")
        if key.strip().lower() != TAG or not text.strip():
            continue
        try:
            name = parse_name(text, harness=own.harness)
        except ValueError:
            name = None
        if name is not None and (name in allowed or name == own):
            chosen = None if name == own else name
        else:
            notes.append(f"The tag {tag[:100]!r} was ignored: {CHOICES} does not name this profile")
    return chosen, notes


def _limited(
    worker: SessionParts, files: HarnessProfiles, chosen: ProfileName, own: HarnessProfile
) -> HarnessProfile:
    """Return the chosen profile, with the stricter permissions of it and the worker's own.

    Raises:
        BadSetting: it is of another harness or does not exist, or the two cannot be compared.
    """
    if chosen.harness != own.name.harness:
        why = f"this worker runs {own.name.harness}"
        raise BadSetting(CHOICES, str(chosen), why)
    try:
        profile = files.resolve(files.find(str(chosen)))
    except ValueError as error:
        raise BadSetting(CHOICES, str(chosen), str(error)) from None
    base = worker.environment.permissions
    policy = stricter(base.overridden(own.permissions), base.overridden(profile.permissions))
    if policy is None:
        why = f"its permissions and those of {own.name} cannot be compared"
        raise BadSetting(CHOICES, str(chosen), why)
    permissions = PermissionSettings(
        policy=policy.mode, rules=policy.rules, approval_timeout_s=policy.approval_timeout_s
    )
    return replace(profile, permissions=permissions)


def stricter(own: Policy, chosen: Policy) -> Policy | None:
    """Return the stricter of two permission policies; ``None`` if they cannot be compared.

    Everything is stricter than ``bypass``, ``rules`` than ``ask`` with the same rules, and
    ``read-only`` than ``ask`` whose rules only allow.
    """
    if own == chosen or own.mode == "bypass":
        return chosen
    if chosen.mode == "bypass" or own.mode == chosen.mode == "read-only":
        return own
    if "read-only" in (own.mode, chosen.mode):
        reads, other = (own, chosen) if own.mode == "read-only" else (chosen, own)
        only_allows = all(rule.effect == "allow" for rule in other.rules)
        return reads if other.mode == "ask" and only_allows else None
    if own.rules != chosen.rules:
        return None
    timeout_s = min(own.approval_timeout_s, chosen.approval_timeout_s)
    return (own if own.mode == "rules" else chosen).model_copy(
        update={"approval_timeout_s": timeout_s}
    )


# --- the catalogue of tool servers
async def catalogue_servers(
    chosen: SessionProfile, tools: SessionMcpServers, guest: Guest, *, redactor: Redactor, log: Log
) -> SessionMcpServers:
    """Return the servers of a session with those that its harness profile names.

    One of the same name replaces an installed one. One that lacks something is left out.

    Raises:
        BadSetting: one lacks something, and is required.
    """
    servers, names = list(tools.servers), list(tools.installed)
    has_machine = spec_of(chosen.profile.name.harness).capabilities.has_local_environment
    for name, entry in chosen.servers.items():
        missing = await _missing(entry, chosen.env, guest) if has_machine else "this machine"
        if missing:
            if entry.required:
                raise BadSetting(f"mcp.{name}", str(chosen.profile.name), f"it needs {missing}")
            log.warning(Event.MCP_CONFIG, server=name, why=f"left out: it needs {missing}")
            continue
        if any(server.name == name for server in servers):
            log.warning(Event.MCP_CONFIG, server=name, why="that of the catalogue replaces it")
        servers = [server for server in servers if server.name != name]
        servers.append(_server(name, entry, chosen.env, redactor))
        names = [*dict.fromkeys((*names, name))]
    return SessionMcpServers(tuple(servers), tuple(names))


async def _missing(entry: CatalogueServer, env: Mapping[str, str], guest: Guest) -> str:
    absent = [f"the variable {name}" for name in entry.variables if not named(env, name).strip()]
    absent += [
        f"the program {program}"
        for program in entry.programs
        if await guest.files.which(program, env) is None
    ]
    return " and ".join(absent)


def _server(
    name: str, entry: CatalogueServer, env: Mapping[str, str], redactor: Redactor
) -> McpServer:
    def filled(texts: Mapping[str, str]) -> dict[str, str]:
        return {key: _filled(text, env, redactor, name=key) for key, text in texts.items()}

    command, *args = shlex.split(entry.command) if entry.command else [""]
    return McpServer(
        name=name,
        transport="stdio" if entry.command else entry.transport,
        url=_filled(entry.url or "", env, redactor),
        headers=filled(entry.headers),
        command=command,
        args=tuple(_all_filled([*args, *entry.args], env, redactor)),
        env=filled(entry.env),
    )


def _all_filled(texts: Sequence[str], env: Mapping[str, str], redactor: Redactor) -> list[str]:
    return [_filled(text, env, redactor) for text in texts]


def _filled(text: str, env: Mapping[str, str], redactor: Redactor, *, name: str = "") -> str:
    """Put variables into a text; secret ones, and the value of a header, are registered."""
    for variable in REFERENCE.findall(text):
        if is_secret_name(variable):
            redactor.add(variable, named(env, variable))
    value = REFERENCE.sub(lambda match: named(env, match[1]), text)
    if name and (is_secret_name(name) or len(value) >= MIN_SECRET_CHARS):
        redactor.add(name, value.removeprefix("Bearer "))
    return value
