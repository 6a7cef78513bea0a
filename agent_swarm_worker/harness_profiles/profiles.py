"""All harness profiles and tool servers of the files: validated, and resolved by name."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import BadHarnessProfiles, BadSetting, ConfigError
from agent_swarm_worker.guards.permissions.policy import Policy
from agent_swarm_worker.harness_profiles.files import (
    MCP,
    Node,
    Source,
    kind_of,
    merged,
    problem,
    read_tree,
)
from agent_swarm_worker.harness_profiles.model import (
    CatalogueServer,
    Variant,
    option_fields,
    option_variables,
    problems_of,
)
from agent_swarm_worker.harness_profiles.names import (
    CHOICES,
    DEFAULT,
    VARIABLE,
    HarnessProfile,
    HarnessProfileSettings,
    ProfileName,
    check_choice,
    chosen_name,
    folded,
    harness_of,
    nearest,
    parse_name,
    why_no_variant,
)
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.kit.mcp_config import is_like_swarms
from agent_swarm_worker.providers.registry import installed_options, spec_of, supported_providers
from agent_swarm_worker.settings import HarnessOptions, named
from agent_swarm_worker.tool_bridge.serving import SERVER as TOOLS_SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent_swarm_worker.harness_profiles.files import Path_
    from agent_swarm_worker.logs import Log

MAX_VARIANTS = 500
MAX_NAMED = 20
"""Variants that an error message lists."""
EXTENDS = "extends"
_SERVER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_VARIABLES = {
    "model": "MODEL_OVERRIDE",
    "effort": "REASONING_EFFORT_OVERRIDE",
    "setup": "SWARM_SETUP_COMMAND",
    "cleanup": "SWARM_CLEANUP_COMMAND",
}
"""Keys of a variant that are variables of the worker."""
_PERMISSIONS = {
    "permissions.policy": "SWARM_PERMISSIONS",
    "permissions.rules": "SWARM_PERMISSION_RULES",
    "permissions.approval_timeout_s": "SWARM_APPROVAL_TIMEOUT_S",
}
"""The variables that count for a variant without these keys."""


class HarnessProfiles:
    """The content of the shipped file and of the operator's."""

    def __init__(self, tree: Node) -> None:
        """Validate the files.

        Raises:
            BadHarnessProfiles: they have mistakes; it has all of them.
        """
        self._variants: dict[ProfileName, Node] = {}
        self._parents: dict[ProfileName, ProfileName | None] = {}
        self.servers: dict[str, CatalogueServer] = {}
        """The catalogue of tool servers, by name."""
        self.server_sources: dict[str, Source] = {}
        problems = [
            *self._take_agents(tree),
            *self._take_servers(tree),
            *(line for name in list(self._variants) for line in self._problems(name)),
        ]
        if problems:
            raise BadHarnessProfiles(problems)

    @classmethod
    def load(cls, path: Path | None) -> HarnessProfiles:
        """Read the operator's file, if any; raises `BadHarnessProfiles`."""
        return cls(read_tree(path))

    def names(self) -> list[ProfileName]:
        """Return the names of all harness profiles, each harness's default first."""
        every = {*self._variants, *(ProfileName(one) for one in supported_providers())}
        return sorted(every, key=lambda it: (it.harness, it.variant != DEFAULT, it.variant))

    def find(self, text: str, *, harness: str = "") -> ProfileName:
        """Return the name that `text` means; ``ValueError`` if there is no such profile."""
        name = parse_name(text, harness=harness)
        if name not in self._variants and name.variant != DEFAULT:
            known = [one.variant for one in self.names() if one.harness == name.harness]
            hint, listed = nearest(name.variant, known), ", ".join(known[:MAX_NAMED])
            listed += ", …" if len(known) > MAX_NAMED else ""
            msg = f"{name.harness} has no variant {name.variant!r}{hint}; it has {listed}"
            raise ValueError(msg)
        return name

    def tree(self, name: ProfileName) -> Node:
        """Return a variant with what it extends, each value with its source."""
        chain = self._chain(name)
        tree = Node({}, Source("", ""))
        for one in reversed(chain):
            node = self._variants.get(one, tree)
            tree = merged(tree, node if one == name else _extended(node, one))
        return Node({key: it for key, it in tree.value.items() if key != EXTENDS}, tree.source)

    def resolve(self, name: ProfileName) -> HarnessProfile:
        """Return a harness profile, ready to be applied."""
        variant = Variant.model_validate(self.tree(name).plain())
        options, _ = option_variables(_options_of(name.harness), variant.options)
        own = {
            variable: value
            for key, variable in _VARIABLES.items()
            if (value := getattr(variant, key)) is not None
        }
        return HarnessProfile(
            name=name,
            variables={**variant.env, **options, **own, **_command(name.harness, variant.command)},
            args=tuple(variant.args),
            append_prompt=variant.append_prompt,
            permissions=variant.permissions,
            sandbox=variant.sandbox,
            mcp=tuple(variant.mcp),
            tools=None if variant.tools is None else tuple(variant.tools),
        )

    def _chain(self, name: ProfileName) -> list[ProfileName]:
        """Return a variant and those that it extends; an unknown or repeated one ends it."""
        chain = [name]
        while (parent := self._parent(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def _parent(self, name: ProfileName) -> ProfileName | None:
        if name not in self._parents:
            node = self._variants.get(name)
            text = node.value[EXTENDS].value if node and EXTENDS in node.value else None
            self._parents[name] = None
            with suppress(ValueError):
                if isinstance(text, str):
                    self._parents[name] = self.find(text, harness=name.harness)
        return self._parents[name]

    def _take_agents(self, tree: Node) -> Iterator[str]:
        for agent, table in tree.value.items():
            if agent == MCP:
                continue
            harness = harness_of(agent)
            if harness is None:
                hint = nearest(agent, (*supported_providers(), MCP, "include"))
                yield problem(_first(table), agent, f"unknown harness{hint}")
                continue
            if not table.is_table:
                why = f"expected a table of variants, found {kind_of(table.value)}"
                yield problem(table.source, agent, why)
                continue
            for variant, node in table.value.items():
                if not node.is_table:
                    why = f"expected a table, found {kind_of(node.value)}"
                    if variant in Variant.model_fields:
                        why += f": a key belongs into a variant, such as {agent}.{DEFAULT}"
                    yield problem(node.source, (agent, variant), why)
                elif why := why_no_variant(variant):
                    yield problem(_first(node), (agent, variant), why)
                elif len(self._variants) >= MAX_VARIANTS:
                    yield problem(
                        _first(node), (agent, variant), f"more than {MAX_VARIANTS} variants"
                    )
                    return
                else:
                    self._variants[ProfileName(harness, variant)] = node

    def _take_servers(self, tree: Node) -> Iterator[str]:
        servers = tree.value.get(MCP)
        if servers is None:
            return
        if not servers.is_table:
            why = f"expected a table of tool servers, found {kind_of(servers.value)}"
            yield problem(servers.source, MCP, why)
            return
        for name, node in servers.value.items():
            found = [*problems_of(CatalogueServer, node.plain())]
            if is_like_swarms(name) or folded(name) == TOOLS_SERVER:
                found.append(((), "this is the name of a server of the worker's own"))
            elif not _SERVER.fullmatch(name):
                found.append(((), "a name has letters, digits, - and _"))
            if found:
                yield from _lines(node, (MCP, name), found)
                continue
            self.servers[name] = CatalogueServer.model_validate(node.plain())
            self.server_sources[name] = _first(node)

    def _problems(self, name: ProfileName) -> Iterator[str]:
        """Yield what is wrong with the variant itself, without what it extends."""
        node, path = self._variants[name], (name.harness, name.variant)
        value = node.plain()
        found = list(problems_of(Variant, value))
        wrong = {where[0] for where, _ in found if where}
        if "options" in value and "options" not in wrong:
            _, bad = option_variables(_options_of(name.harness), value["options"])
            found += [(("options", *where), why) for where, why in bad]
        spec = spec_of(name.harness)
        if spec.program is None and not spec.command_variables:
            why = f"{name.harness} runs no program"
            found += [((key,), why) for key in ("command", "args") if value.get(key)]
        for number, server in enumerate(value.get("mcp", ()) if "mcp" not in wrong else ()):
            if server not in self.servers:
                hint = nearest(server, self.servers)
                found.append((("mcp", number), f"no tool server {server!r} in the catalogue{hint}"))
        if EXTENDS in value and EXTENDS not in wrong and (why := self._why_not(name, value)):
            found.append(((EXTENDS,), why))
        yield from _lines(node, path, found)

    def _why_not(self, name: ProfileName, value: dict[str, Any]) -> str:
        try:
            parent = self.find(value[EXTENDS], harness=name.harness)
        except ValueError as error:
            return str(error)
        if parent.harness != name.harness:
            return f"{parent} is of another harness"
        chain = [name]
        while True:
            following = self._parent(chain[-1])
            if following is None:
                return ""
            if following in chain:
                names = [*chain[chain.index(following) :], following]
                return f"a cycle: {' → '.join(map(str, names))}"
            chain.append(following)


class ProfileStore:
    """The harness profiles of a worker; after a broken edit, those of the last good files."""

    def __init__(self, env: Mapping[str, str], *, log: Log) -> None:
        self._env, self._log = env, log
        self.settings = HarnessProfileSettings.load(env)
        self._good: HarnessProfiles | None = None
        self._why = ""

    @property
    def current(self) -> HarnessProfiles:
        """The content of the files as they were last read."""
        return self._good or self.read()

    def read(self) -> HarnessProfiles:
        """Read the files again.

        Raises:
            ConfigError: they cannot be used, and never could.
        """
        try:
            found = self._read()
        except ConfigError as error:
            if self._good is None:
                raise
            if self._why != str(error):
                self._why = str(error)
                self._log.warning(Event.HARNESS_PROFILE, why=self._why, state="the last good one")
            return self._good
        self._good, self._why = found, ""
        return found

    def own(self, harness: str, *, again: bool = True) -> HarnessProfile:
        """Return the harness profile of the worker's own choice; raises `ConfigError`.

        It is the chosen one, or the default of `harness`. Without `again` no file is read if one
        was read before.
        """
        return self.own_in(self.read() if again else self.current, harness)

    def own_in(self, profiles: HarnessProfiles, harness: str) -> HarnessProfile:
        """Return the same from files that were read before."""
        return profiles.resolve(chosen_name(self._env) or ProfileName(harness))

    def _read(self) -> HarnessProfiles:
        if self._good is not None and self.settings.file is None:
            return self._good  # only the shipped file, which stays as it is
        found = HarnessProfiles.load(self.settings.file)
        chosen = chosen_name(self._env)
        try:
            if chosen is not None:
                found.find(str(chosen))
        except ValueError as error:
            raise BadSetting(VARIABLE, str(chosen), str(error)) from None
        return found


def _options_of(harness: str) -> type[HarnessOptions]:
    return installed_options().get(harness, HarnessOptions)


def _command(harness: str, command: str | None) -> dict[str, str]:
    """Return the variables that make a harness run this command line."""
    if command is None:
        return {}
    spec = spec_of(harness)
    names = spec.program.variables if spec.program else spec.command_variables
    first, *others = names or ("",)
    return {first: command, **dict.fromkeys(others, "")} if first else {}


def _lines(node: Node, path: Path_, found: list[tuple[Path_, str]]) -> Iterator[str]:
    for where, why in found:
        at = node.at(where)
        yield problem(_first(at) if at.is_table else at.source, (*path, *where), why)


def _first(node: Node) -> Source:
    """Return the source of a node; of a table, that of its last value."""
    sources = [leaf.source for _, leaf in node.leaves()] if node.is_table else []
    return sources[-1] if sources else node.source


def _extended(node: Node, name: ProfileName) -> Node:
    value = node.value
    if node.is_table:
        value = {key: _extended(one, name) for key, one in value.items()}
    return Node(value, replace(node.source, extends=node.source.extends or str(name)))


# --- for people
@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a harness profile, and where it comes from."""

    key: str
    value: Any
    source: str
    variable: str = ""
    """The variable that holds it, if one does."""


def settings_of(
    profiles: HarnessProfiles, name: ProfileName, env: Mapping[str, str]
) -> Iterator[Setting]:
    """Yield every value of a harness profile: of the files, else of `env`, else the default."""
    tree, options = profiles.tree(name), _options_of(name.harness)
    given, profile = dict(tree.leaves()), profiles.resolve(name)
    command = _command(name.harness, given["command"].value if "command" in given else None)
    variables = {f"options.{field}": options.variables()[field] for field in option_fields(options)}
    variables |= {key: (variable,) for key, variable in _VARIABLES.items()}
    variables |= {key: (variable,) for key, variable in _PERMISSIONS.items()}
    variables |= {key: (key.removeprefix("env."),) for key in given if key.startswith("env.")}
    defaults: dict[str, Any] = {
        "sandbox": profile.sandbox,
        "permissions.policy": Policy().mode,
        "permissions.approval_timeout_s": Policy().approval_timeout_s,
        **{f"options.{field}": it.default for field, it in options.model_fields.items()},
    }
    parts = ["model", "effort", "command", "args", "append_prompt", "setup", "cleanup", "sandbox"]
    parts += _PERMISSIONS
    own = [key for key in given if key not in {*parts, *variables}]
    for key in (*parts, *[one for one in variables if one not in parts], *own):
        names = variables.get(key, ())
        laid = next((one for one in names if one in profile.variables), "")
        used = next((one for one in names if named(env, one).strip()), "")
        if laid in command:
            yield Setting(key, command[laid], "command of this profile", laid)
        elif key in given:
            node = given[key]
            yield Setting(key, node.value, str(node.source), names[0] if names else "")
        elif laid:
            yield Setting(key, profile.variables[laid], f"env.{laid} of this profile", laid)
        elif used:
            yield Setting(key, named(env, used), f"environment: {used}", used)
        else:
            yield Setting(key, defaults.get(key), "default")
    for server in profile.mcp:
        entry = profiles.servers[server]
        value = " ".join([entry.command or entry.url or "", *entry.args])
        if needs := ", ".join((*entry.programs, *entry.variables)):
            value += f" (needs {needs})"
        yield Setting(f"mcp.{server}", value, str(profiles.server_sources[server]))


def check_names(profiles: HarnessProfiles, env: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the names of harness profiles in `env`."""
    problems: list[str] = []
    try:
        check_choice(env)
    except BadSetting as error:
        return [str(error)]
    settings, chosen = HarnessProfileSettings.load(env), chosen_name(env)
    wanted = [(VARIABLE, settings.profile)] if chosen else []
    wanted += [(CHOICES, text) for text in settings.task_choices if chosen or ":" in text]
    for variable, text in wanted:
        try:
            profiles.find(text, harness=chosen.harness if chosen and variable == CHOICES else "")
        except ValueError as error:
            problems.append(str(BadSetting(variable, text, str(error))))
    return problems
