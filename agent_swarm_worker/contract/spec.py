"""The declaration of a harness: one `HarnessSpec` per harness, in its own package.

All code outside ``providers/<name>/`` that depends on the harness reads it. The types are plain
data, so importing a spec costs little; objects with behaviour are named as ``module:attribute`` and
imported on use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

SteerMode: TypeAlias = Literal["steer", "queue"]
McpTransport: TypeAlias = Literal["http", "sse", "stdio"]
PromptDelivery: TypeAlias = Literal["stdin", "file", "argument", "in-process"]
PermissionMode: TypeAlias = Literal["bypass", "callback", "unknown"]
CostSource: TypeAlias = Literal["harness", "price-table", "none"]
ActionKind: TypeAlias = Literal[
    "read",
    "edit",
    "write",
    "shell",
    "search",
    "find-files",
    "list-directory",
    "subagent",
    "skill",
    "housekeeping",
]
"""The action of a tool call. ``housekeeping`` is no work and gets no label."""


def _no_entries() -> Mapping[str, Any]:
    return MappingProxyType({})


class OptionsModel(Protocol):
    """The settings of one harness, read from a mapping of environment variables."""

    @classmethod
    def load(cls, env: Mapping[str, str]) -> Self:
        """Read the options; raises `BadSetting` naming the variable that cannot be used."""

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Return the variables of each field, the preferred name first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The package of the harness's program, at the version that the tests use."""

    tool: str
    """The installer's program: ``npm``, ``pip``, ``cargo``."""
    package: str
    version: str
    arguments: tuple[str, ...] = ("install",)
    separator: str = "=="
    """Between package and version."""

    @property
    def command(self) -> str:
        """The command line that installs it."""
        return " ".join(
            [self.tool, *self.arguments, f"{self.package}{self.separator}{self.version}"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The command-line program of a harness."""

    name: str
    """Looked up on ``PATH`` unless one of `variables` names another."""
    variables: tuple[str, ...] = ()
    """Environment variables with a command line to use instead of `name`; the first that is set
    wins."""
    version_arguments: tuple[str, ...] = ("--version",)
    install: Installation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsByModel:
    """How the model selects the credential of a harness with several vendors.

    ``vendor/model`` uses ``<VENDOR>_API_KEY`` if that is one of the harness's variables,
    else the gateway's; a bare model name is matched against `families`.
    """

    gateway: str
    """The variable of the service that has the models of all vendors."""
    families: tuple[tuple[str, str], ...] = ()
    """Pairs of a regular expression, matched at the start of a bare model name, and a variable."""
    only_own_models: tuple[str, ...] = ()
    """Variables that are dropped for a model of another vendor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The credentials of a harness, and those that other harnesses must not see."""

    variables: tuple[str, ...] = ()
    """Environment variables in order of preference; one of them must be set. Empty: none is needed,
    and a session sees the credentials of every other harness, too."""
    files: tuple[str, ...] = ()
    """Credential files below the home directory that the program finds by itself."""
    is_pooled: bool = True
    """A variable may hold several credentials, separated by commas; a session gets one of them,
    and one that the server reports as rate-limited is skipped."""
    one_at_a_time: bool = False
    """A session gets one credential only, so that the worker knows which one it uses."""
    by_model: CredentialsByModel | None = None
    personal: tuple[str, ...] = ()
    """Variables with a person's login; withheld from sessions of every other harness that declares
    credentials, which might log in to the wrong vendor with them."""
    withheld: tuple[str, ...] = ()
    """Regular expressions; a variable whose whole name matches is withheld from every session and
    every set-up script, such as a login with a refresh token that belongs to the swarm."""
    set_by_worker: tuple[str, ...] = ()
    """Variables that only a credential selection of the worker sets; withheld otherwise."""
    chosen_by: tuple[str, ...] = ()
    """Without ``HARNESS_PROVIDER``, this harness is the default if one of these variables is set
    and none of the default harness's own."""
    login: str = ""
    """``module:attribute`` of the login hook if logging in takes more than reading a variable:
    leases, refreshing, files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models of a harness, where they differ from the shared catalogue."""

    default: str = ""
    """The model of a task that names none; empty: the harness decides."""
    aliases: Mapping[str, str] = field(default_factory=_no_entries)
    """Short names that the adapter resolves, in lower case."""
    tiers: Mapping[str, str] = field(default_factory=_no_entries)
    """Models of the tiers ``smol``, ``regular``, ``smart`` and ``ultra``."""
    windows: tuple[tuple[str, int], ...] = ()
    """Pairs of a regular expression and a context window in tokens, for models whose window differs
    from the vendor's; searched in the lower-case name, the first match wins."""
    uses_catalog: bool = True
    """Whether the shared catalogue (`providers.catalog`) has the other windows."""
    efforts: tuple[str, ...] = ("off", "low", "medium", "high", "xhigh", "max")
    """Levels of reasoning effort that can be passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """The skill folders of a harness, and how a prompt names a skill."""

    folders: tuple[str, ...] = ()
    """Folders below the home directory for installed skills."""
    command_folders: tuple[str, ...] = ()
    """Further folders below the home directory for commands, as ``<name>.md``."""
    folder_variable: str = ""
    """Environment variable that names another folder instead; default ``<NAME>_SKILLS_DIR``."""
    native_discovery: bool = True
    """The harness resolves commands; otherwise the worker puts the skill's text into the prompt."""
    command_form: str = "/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """How prompts reach a harness, and which notes files it reads by itself."""

    delivery: PromptDelivery = "stdin"
    system_delivery: PromptDelivery = "file"
    reads_agent_notes: bool = False
    """It reads the agent's notes in the workspace, from the working directory upwards."""
    reads_repository_notes: bool = False
    """It, or its adapter, reads the notes file of the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The features of a harness."""

    steer_modes: tuple[SteerMode, ...] = ()
    can_resume: bool = False
    can_fork: bool = False
    mcp_transports: tuple[McpTransport, ...] = ("http", "sse", "stdio")
    """Empty: the prompt names no tools."""
    has_local_environment: bool = True
    """The session works on local files."""
    permissions: PermissionMode = "bypass"
    cost_source: CostSource = "none"
    keeps_stdin_open: bool = False
    needs_port: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HangTexts:
    """Regular expressions for the last line of a hanging session; case is ignored.

    They are tried besides those for every harness (`guards.hangs`).
    """

    asking: tuple[str, ...] = ()
    """The harness waits for an answer."""
    network: tuple[str, ...] = ()
    """The harness waits for a network or a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTraits:
    """The features of a harness in the form that preceded `HarnessSpec`; still supported."""

    has_mcp: bool = True
    has_local_environment: bool = True
    native_skill_discovery: bool = True
    steer_modes: tuple[SteerMode, ...] = ()
    needs_credential: tuple[str, ...] = ()
    """Environment variables of which one must be set; empty if the harness needs none."""
    wire_name: str | None = None
    """The nearest name that the server accepts, if it does not know this one (docs/api.md 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessSpec:
    """The declaration of one harness."""

    name: str
    """As in ``HARNESS_PROVIDER``."""
    wire_name: str = ""
    """The nearest name that the server accepts, if it does not know `name`."""
    program: Program | None = None
    """``None`` for a harness inside the worker's process, or one that the operator names."""
    extra: str = ""
    """The extra of this distribution that the harness needs."""
    options: type[OptionsModel] | None = None
    credentials: Credentials = Credentials()
    models: Models = Models()
    skills: Skills = Skills()
    prompt: Prompt = Prompt()
    capabilities: Capabilities = Capabilities()
    error_texts: Mapping[str, tuple[str, ...]] = field(default_factory=_no_entries)
    """Regular expressions of failures by error class (`guards.error_classes`); tried before those
    for every harness."""
    hang_texts: HangTexts = HangTexts()
    tools: Mapping[str, ActionKind] = field(default_factory=_no_entries)
    """The actions of its tools, by their name in lower case; besides the usual names."""
    tracing_variables: tuple[str, ...] = ()
    """Switches with which this harness reports traces itself; then it gets the collector's key."""
    home_files: Mapping[str, str] = field(default_factory=_no_entries)
    """Files, by their path below the home directory, that a container creates if they are missing:
    with them the program asks no first-start questions and no approvals."""
    demo: str = ""
    """``module:attribute`` of an asynchronous context manager that serves a scripted model from an
    empty directory and gives the variables that make the worker use it."""
    stage: str = ""
    """``module:attribute`` of the conformance fixture, if no entry point names one."""

    def __post_init__(self) -> None:
        """Check the types of the parts and the regular expressions.

        Raises:
            TypeError: a part has the wrong type.
            re.error: an expression cannot be compiled.
        """
        for part, kind in _PARTS.items():
            if not isinstance(getattr(self, part), kind):
                msg = f"{part} of the spec of {self.name!r} is no {kind.__name__}"
                raise TypeError(msg)
        for name in ("variables", "files", "personal", "withheld", "set_by_worker", "chosen_by"):
            if not isinstance(getattr(self.credentials, name), tuple):
                msg = f"credentials.{name} of the spec of {self.name!r} is no tuple"
                raise TypeError(msg)
        options: object = self.options
        if options is not None and not isinstance(options, type):
            msg = f"options of the spec of {self.name!r} is no class"
            raise TypeError(msg)
        by_model = self.credentials.by_model
        for expression in (
            *self.credentials.withheld,
            *(family for family, _ in (by_model.families if by_model else ())),
            *(window for window, _ in self.models.windows),
            *(text for texts in self.error_texts.values() for text in texts),
            *self.hang_texts.asking,
            *self.hang_texts.network,
        ):
            re.compile(expression)

    @property
    def server_name(self) -> str:
        """The name to send to the server; the caller checks that the server accepts it."""
        return self.wire_name or self.name

    @property
    def traits(self) -> ProviderTraits:
        """The features as `ProviderTraits`, for code written before specs."""
        return ProviderTraits(
            has_mcp=bool(self.capabilities.mcp_transports),
            has_local_environment=self.capabilities.has_local_environment,
            native_skill_discovery=self.skills.native_discovery,
            steer_modes=self.capabilities.steer_modes,
            needs_credential=self.credentials.variables,
            wire_name=self.wire_name or None,
        )


_PARTS: Mapping[str, type] = {
    "name": str,
    "credentials": Credentials,
    "models": Models,
    "skills": Skills,
    "prompt": Prompt,
    "capabilities": Capabilities,
    "hang_texts": HangTexts,
}
