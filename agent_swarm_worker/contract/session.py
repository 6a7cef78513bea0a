"""The interfaces of a provider: adapter, session, translator; the configuration of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path, PurePath

    from agent_swarm_worker.contract.events import CostData, EventListener, ProviderEvent
    from agent_swarm_worker.contract.guest import Guest
    from agent_swarm_worker.contract.listening import SessionSink
    from agent_swarm_worker.contract.permissions import PermissionGate
    from agent_swarm_worker.contract.spec import HarnessSpec, SteerMode


class StreamRedactor(Protocol):
    """Scrubs a byte stream of which a read may cut a secret anywhere."""

    @property
    def held_bytes(self) -> int:
        """How many bytes are held back because they may become a secret."""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return those that can no longer be part of a secret."""

    def close(self) -> bytes:
        """Return the held bytes, scrubbed."""


class Redactor(Protocol):
    """Replaces registered secrets in all output of the worker."""

    def add(self, name: str, value: str) -> None:
        """Register a secret from now on; `name` becomes its placeholder."""

    def data(self, value: bytes) -> bytes:
        """Scrub complete bytes."""

    def text(self, value: str) -> str:
        """Scrub a complete string."""

    def leaves(self, value: Any) -> Any:
        """Scrub every string in a JSON value, keys included; other types pass."""

    def json_line(self, line: bytes) -> tuple[bytes, Any]:
        """Scrub one JSON line; return it and its parsed value, or ``None`` if it is not JSON."""

    def json_lines(self, lines: Sequence[bytes]) -> list[tuple[bytes, Any]]:
        """Scrub several lines of a protocol at once, which costs less than one by one.

        A secret that equals a key or a type of the protocol stays in the values, not in the lines.
        """

    def with_words(self, stored: Any) -> Any:
        """Put the words of the protocol back into the value of a line from `json_lines`."""

    def stream(self) -> StreamRedactor:
        """Return a scrubber for a stream that arrives in chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """A tool server the agent may call, with its secrets resolved."""

    name: str
    transport: Literal["http", "sse", "stdio"]
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSessionConfig:
    """The configuration of one session.

    Paths and the environment are those inside the guest; only the journal is the worker's.
    """

    prompt: str
    system_prompt: str = ""
    model: str = ""
    role: str = "worker"
    agent_id: str
    task_id: str
    session_uuid: str
    """The runner's id of this session; also the tag that its processes carry."""
    api_url: str
    api_key: str = field(repr=False)
    guest: Guest
    cwd: PurePath
    log_file: Path
    """The journal: JSON lines, the first one a metadata record that the runner writes."""
    private_dir: PurePath
    """A directory of mode 0700 for this session's files; the caller removes it afterwards."""
    env: Mapping[str, str] = field(repr=False)
    """The complete environment of the child, not a delta (docs/api.md 15.9)."""
    redactor: Redactor
    mcp_servers: tuple[McpServer, ...] = ()
    """The swarm's own server first, then the installed ones."""
    resume_session_id: str | None = None
    """The harness's session to continue; `can_resume` has confirmed it."""
    forks: bool = False
    """Continue a copy of that session, which itself stays as it is (`Capabilities.can_fork`)."""
    fresh_prompt: str | None = None
    """The prompt to use instead of `prompt` if that session turns out to be gone."""
    iteration: int = 1
    result_grace_s: float = 10.0
    """How long the harness may stay after its final event before it is ended."""
    journal_max_bytes: int = 1 << 30
    """Approximate limit of the journal; debug lines are left out from half of it on."""
    additional_args: tuple[str, ...] = ()
    reasoning_effort: str | None = None
    vcs_repo: str | None = None
    context_key: str | None = None
    permissions: PermissionGate | None = field(default=None, repr=False)
    """Answers the harness's permission requests; ``None``: it need not ask, everything is allowed.
    An adapter whose spec says ``none`` is never given one."""
    sink: SessionSink | None = field(default=None, repr=False)
    """For the shared session base only. The worker reads `log_file` of a session without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitWindow:
    """One window of a vendor's limits, as the harness last reported it."""

    status: str
    utilization: float | None = None
    resets_at_s: int | None = None
    is_using_overage: bool | None = None
    surpassed_threshold: float | None = None
    last_seen_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderResult:
    """How a session ended. ``is_error`` decides, not the exit code alone."""

    exit_code: int
    is_error: bool
    session_id: str | None = None
    cost: CostData | None = None
    output: str | None = None
    error_category: str | None = None
    failure_reason: str | None = None
    rate_limit_reset_at: str | None = None
    """When the limit ends: UTC in ISO 8601 with a final ``Z``."""
    rate_limit_windows: Mapping[str, RateLimitWindow] = field(default_factory=dict)
    applied_reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True)
class SteerDelivery:
    """The outcome of a message to a running session."""

    delivered: bool
    mode: SteerMode | None = None
    reason: str | None = None
    """Why it could not be delivered."""


@runtime_checkable
class ProviderSession(Protocol):
    """One run of a harness for one task."""

    @property
    def session_id(self) -> str | None:
        """The harness's own id of the session, once known."""

    def on_event(self, listener: EventListener) -> None:
        """Register a listener; the first one also gets everything emitted so far."""

    async def wait_for_completion(self) -> ProviderResult:
        """Run the session to its end and return its result.

        The session runs inside this call, so the caller owns everything it starts.
        """

    async def abort(self, reason: str = "cancelled") -> None:
        """Ask the session to end; returns at once and may be called repeatedly.

        The result then has the category ``aborted``, unless the harness had finished.
        """


@runtime_checkable
class SteerableSession(ProviderSession, Protocol):
    """A session that takes messages while it runs."""

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Deliver one message."""


@runtime_checkable
class ProviderAdapter(Protocol):
    """A harness. One object per worker; it makes one session per task."""

    @property
    def name(self) -> str:
        """As in ``HARNESS_PROVIDER``."""

    @property
    def spec(self) -> HarnessSpec:
        """The declaration of this harness."""

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Raise `ConfigError` or `ProviderError` if no session could start with `env`.

        Checks programs, settings and credentials in the guest, without using the network.
        """

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session. Raises `ProviderError` if it cannot be started."""

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the harness's own files of the session exist."""

    def format_command(self, command_name: str) -> str:
        """Return a swarm command such as ``work-on-task`` in the syntax of this harness."""


@runtime_checkable
class ReplayableAdapter(Protocol):
    """An adapter whose sessions can be replayed; the tasks of others are handed back."""

    async def translator(self, config: ProviderSessionConfig) -> Translator | None:
        """Return a new translator for the lines of one journal; ``None`` if it has none.

        Args:
            config: task, agent, session and environment, without a prompt; its
                `resume_session_id` is set if the session continued another.
        """


@runtime_checkable
class RemoteSessions(Protocol):
    """An adapter whose sessions run at a vendor, and go on there if the worker is killed."""

    async def end_remote(
        self,
        config: ProviderSessionConfig,
        translator: Translator,
        take: Callable[[Sequence[bytes]], None],
    ) -> None:
        """End a killed worker's session at the vendor, after taking what it said since.

        Of one that has come to its end by itself, the result is taken as well. Raises
        `ProviderError` if the vendor does not confirm the end within half a minute.

        Args:
            config: as for `ReplayableAdapter.translator`.
            translator: of this adapter; it was fed the whole journal.
            take: takes lines as a running session does, and feeds them to the translator.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of the harness's process."""

    exit_code: int
    """As in a shell: 128 + n after signal n."""
    aborted: str | None = None
    """The reason given to `abort`, if it was called."""
    hung_after_result: bool = False
    """The process did not exit after its final event, and was killed."""
    closed_output: bool = False
    """The process closed its output before its final event, went on, and was killed."""
    out_of_memory: bool = False
    """The kernel killed the process for lack of memory."""
    truncated: bool = False
    """The last line had no line end."""
    stderr_tail: str = ""
    """The last few KiB of standard error, scrubbed."""
    duration_ms: int = 0


class Translator(Protocol):
    """Turns a harness's output into events and a result. Has state, does no I/O, is used once.

    A session feeds its translator while the harness runs; a replay feeds one from the journal.
    """

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Translate one parsed line of standard output; a malformed or unknown one is skipped."""

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Translate one line of standard output that is not JSON."""

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Translate one line of standard error."""

    @property
    def is_final(self) -> bool:
        """True after the harness's final event; it should exit soon."""

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the session's result. Called once, after the last line.

        A session that failed because of an abort has the category ``aborted``.
        """


@runtime_checkable
class TextTranslator(Translator, Protocol):
    """A translator for programs that may print plain text, of which a line can look like JSON."""

    def is_text(self, native: Any) -> bool:
        """True to feed this JSON line, and blank lines, verbatim as text."""
