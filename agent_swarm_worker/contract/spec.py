"""The declaration of a harness: one `HarnessSpec` per harness, in its own package.

All code outside ``providers/<name>/`` that depends on the harness reads it. The types are plain
data, cheap to import; objects with behaviour are named as ``module:attribute``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath
    from typing import Self

    from agent_swarm_worker.contract.events import CostData
    from agent_swarm_worker.contract.guest import Guest
    from agent_swarm_worker.contract.permissions import PermissionSupport

SteerMode: TypeAlias = Literal["steer", "queue"]
McpTransport: TypeAlias = Literal["http", "sse", "stdio"]
PromptDelivery: TypeAlias = Literal["stdin", "file", "argument", "in-process"]
CostSource: TypeAlias = Literal["harness", "price-table", "none"]
ActionKind: TypeAlias = Literal[
    "read",
    "edit",
    "write",
    "shell",
    "search",
    "find-files",
    "list-directory",
    "web-search",
    "fetch",
    "mcp",
    "subagent",
    "skill",
    "plan",
    "question",
    "housekeeping",
    "other",
]
"""The action of a tool call. ``plan`` and ``housekeeping`` are no work and get no label."""


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
    """``npm``, ``pip``, ``cargo``."""
    package: str
    version: str
    arguments: tuple[str, ...] = ("install",)
    separator: str = "=="

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
    variables: tuple[str, ...] = ()
    """Environment variables with a command line to use instead; the first that is set wins."""
    version_arguments: tuple[str, ...] = ("--version",)
    install: Installation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsByModel:
    """How the model selects the credential of a harness with several vendors.

    ``vendor/model`` uses ``<VENDOR>_API_KEY`` if that is one of the harness's variables,
    else the gateway's; a bare model name is matched against `families`.
    """

    gateway: str
    """The variable of the service with the models of all vendors."""
    families: tuple[tuple[str, str], ...] = ()
    """Pairs of a regular expression for the start of a model name, and a variable."""
    only_own_models: tuple[str, ...] = ()
    """Variables that are dropped for a model of another vendor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the credential of a variable logs in at, apart from the harness's sessions."""

    variable: str
    name: str = ""
    """Such as ``openrouter``; a model may be written with it in front."""
    base_url: str = ""
    """Of its API; empty if the credential is no key for one. Then it is not tested."""
    base_url_variable: str = ""
    api: Literal["anthropic-messages", "openai-completions"] = "openai-completions"
    ask: str = ""
    """``module:attribute`` of an `AskSmallModel`, if a program asks the model and not the API."""
    small_model: str = ""
    """The model that summarises sessions; empty: this credential is not used for that."""
    rank: int = 100
    """Among the credentials that a summary can be made with; the lowest is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallQuestion:
    """A question for a small model, which has no tools."""

    prompt: str
    model: str
    key: str = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    """The worker's, for the settings of the program."""
    guest: Guest
    directory: PurePath
    """Empty, and deleted afterwards."""
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallAnswer:
    """The answer of a small model, and what it cost."""

    text: str
    cost: CostData


class AskSmallModel(Protocol):
    """Asks a small model with the login of one harness; named by `Service.ask`."""

    async def __call__(self, question: SmallQuestion) -> SmallAnswer:
        """Return the answer; raises a `SwarmWorkerError`, or an `OSError`, if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginTest:
    """What a test of an SDK's login found."""

    error: str = ""
    """Empty if it works."""
    details: Mapping[str, Any] = field(default_factory=_no_entries)
    """Further fields of the credential status (docs/api.md 3.6)."""


class SdkLogin(Protocol):
    """The login of a vendor's SDK, named by `Credentials.sdk_login`; constructed for each call."""

    def applies(self, env: Mapping[str, str]) -> bool:
        """True if sessions log in this way."""

    async def test(self, env: Mapping[str, str]) -> LoginTest:
        """Log in and look which models there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The credentials of a harness. Variables are those of the environment."""

    variables: tuple[str, ...] = ()
    """In order of preference; one must be set. Empty: none is needed, and a session sees the
    credentials of every other harness, too."""
    files: tuple[str, ...] = ()
    """Credential files below the home directory that the program finds by itself."""
    is_pooled: bool = True
    """A variable may hold several credentials, separated by commas; a session gets one that is not
    rate-limited."""
    one_at_a_time: bool = False
    """A session gets one credential only, so that the worker knows which one it uses."""
    by_model: CredentialsByModel | None = None
    personal: tuple[str, ...] = ()
    """Variables with a person's login; withheld from every other harness that declares credentials,
    which might log in to the wrong vendor with them."""
    withheld: tuple[str, ...] = ()
    """Regular expressions for whole names of variables that no session and no set-up script gets,
    such as a login with a refresh token that belongs to the swarm."""
    set_by_worker: tuple[str, ...] = ()
    """Variables that only a credential selection of the worker sets; withheld otherwise."""
    chosen_by: tuple[str, ...] = ()
    """Without ``HARNESS_PROVIDER``, this harness is the default if one of these variables is set
    and none of the default harness's own."""
    login: str = ""
    """``module:attribute`` of the hook for logins that are leased, refreshed or kept in files."""
    services: tuple[Service, ...] = ()
    """What its variables log in at; those of another harness may be among them."""
    sdk_login: str = ""
    """``module:attribute`` of an `SdkLogin`, if a vendor's SDK may find the login by itself."""


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
    """Context windows in tokens that differ from the vendor's, by a regular expression that is
    searched in the lower-case model name; the first match wins."""
    uses_catalog: bool = True
    """Whether the shared catalogue (`providers.catalog`) has the other windows."""
    efforts: tuple[str, ...] = ("off", "low", "medium", "high", "xhigh", "max")
    """Levels of reasoning effort that can be passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """The skill folders of a harness, and how a prompt names a skill."""

    folders: tuple[str, ...] = ()
    """Below the home directory."""
    command_folders: tuple[str, ...] = ()
    """Likewise, for commands as ``<name>.md``."""
    folder_variable: str = ""
    """Environment variable that names another folder; default ``<NAME>_SKILLS_DIR``."""
    native_discovery: bool = True
    """The harness resolves commands; otherwise the worker puts the skill's text into the prompt."""
    command_form: str = "/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """How prompts reach a harness, and which notes files it reads by itself."""

    delivery: PromptDelivery = "stdin"
    system_delivery: PromptDelivery = "file"
    reads_agent_notes: bool = False
    """Those in the workspace, from the working directory upwards."""
    reads_repository_notes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The features of a harness."""

    steer_modes: tuple[SteerMode, ...] = ()
    can_resume: bool = False
    can_fork: bool = False
    mcp_transports: tuple[McpTransport, ...] = ("http", "sse", "stdio")
    """Empty: the prompt names no tools."""
    has_local_environment: bool = True
    shows_tools: bool = True
    """The tool calls of its agent are events."""
    permissions: PermissionSupport = "none"
    """The tool calls for which its adapter asks the session's `PermissionGate`."""
    cost_source: CostSource = "none"
    keeps_stdin_open: bool = False
    has_session_token: bool = False
    """The agent may be any program: for the swarm's tools it gets a token of its session instead of
    the worker's key, from a server that issues such tokens."""
    needs_port: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HangTexts:
    """Regular expressions for the last line of a hanging session, besides those of `guards.hangs`.

    Case is ignored.
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
    """As `Credentials.variables`."""
    wire_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessSpec:
    """The declaration of one harness."""

    name: str
    """As in ``HARNESS_PROVIDER``."""
    wire_name: str | tuple[str, ...] = ""
    """The name to send to a server that does not know `name`; or several, the nearest first, of
    which every server knows the last (docs/api.md 17.1)."""
    program: Program | None = None
    """``None`` for a harness inside the worker's process, or one that the operator names."""
    command_variables: tuple[str, ...] = ()
    """Variables with the command line that the operator names instead: the first has the program,
    or all of it if the others are blank."""
    code_variables: tuple[str, ...] = ()
    """Further variables that name a program, or code that it loads: under a permission policy no
    configuration row sets them."""
    extra: str = ""
    """The extra of this distribution that the harness needs."""
    options: type[OptionsModel] | None = None
    credentials: Credentials = Credentials()
    models: Models = Models()
    skills: Skills = Skills()
    prompt: Prompt = Prompt()
    capabilities: Capabilities = Capabilities()
    error_texts: Mapping[str, tuple[str, ...]] = field(default_factory=_no_entries)
    """Regular expressions by error class, tried before those of `guards.error_classes`."""
    hang_texts: HangTexts = HangTexts()
    tools: Mapping[str, ActionKind] = field(default_factory=_no_entries)
    """The actions of its tools, by their name in lower case; besides the usual names."""
    operator_prefixes: tuple[str, ...] = ()
    """Beginnings of the names of variables that no configuration row sets: they load code into its
    program, or say where its files are."""
    tracing_variables: tuple[str, ...] = ()
    """Switches with which this harness reports traces itself; then it gets the collector's key."""
    home_files: Mapping[str, str] = field(default_factory=_no_entries)
    """Files below the home directory that a container creates if they are missing, so that the
    program asks no first-start questions and no approvals."""
    is_synthetic: bool = False
    """It is tested with streams written by hand only, since its program cannot be run anywhere."""
    demo: str = ""
    """``module:attribute`` of an asynchronous context manager that serves a scripted model from an
    empty directory and gives the variables that make the worker use it."""
    stage: str = ""
    """``module:attribute`` of the conformance fixture, if no entry point names one."""

    def __post_init__(self) -> None:
        """Check the spec; raises `TypeError`, or `re.error` for a regular expression."""
        for part, kind in _PARTS.items():
            if not isinstance(getattr(self, part), kind):
                msg = f"{part} of the spec of {self.name!r} is no {kind.__name__}"
                raise TypeError(msg)
        tuples = ("variables", "files", "personal", "withheld", "set_by_worker", "chosen_by")
        for name in (*tuples, "services"):
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
        """The name that every server accepts, if the harness declares one."""
        return self.server_names[-1]

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names to send to the server, the best first; a server may know none of them."""
        others = (self.wire_name,) if isinstance(self.wire_name, str) else self.wire_name
        return (self.name, *filter(None, others))


_PARTS: Mapping[str, type] = {
    "name": str,
    "credentials": Credentials,
    "models": Models,
    "skills": Skills,
    "prompt": Prompt,
    "capabilities": Capabilities,
    "hang_texts": HangTexts,
}
