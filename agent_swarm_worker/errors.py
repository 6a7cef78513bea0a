"""Errors that the worker raises, as one tree.

    SwarmWorkerError
    ├── UsageError                  exit 2    the command line is invalid
    ├── OutputLost                  exit 1    standard output cannot be written
    ├── ConfigError                 exit 78   the operator has to change the configuration
    │   ├── BadSetting                        one setting has a value that cannot be used
    │   ├── UnknownProvider                   HARNESS_PROVIDER is unknown
    │   ├── UnusableProvider                  a harness is installed, but cannot be loaded
    │   ├── UnreadableFile                    a file the operator named cannot be read
    │   ├── BadHarnessProfiles                the files of harness profiles have mistakes
    │   ├── PermissionsUnsupported            the harness asks for no permission, the policy does
    │   ├── MissingExtra                      an optional dependency is not installed
    │   └── CredentialWaitExceeded            no usable credential within the allowed time
    ├── ApiError                    exit 1    a request to the swarm API failed
    │   ├── ApiUnreachable                    no answer (refused, reset, timed out)
    │   ├── ApiGarbled                        an answer that violates the contract
    │   │   └── GatewayRefused                a 4xx status of something before the API
    │   └── ApiRefused                        an answer with a 4xx or 5xx status
    │       ├── Unauthorized                  401: the API key is missing or wrong
    │       └── RouteMissing                  the server does not have this route
    ├── StateError                  exit 1    the worker's own directory cannot be used
    │   ├── StateLocked                       another worker process owns it
    │   ├── StateMissing                      no worker has run with it
    │   ├── StateNewer              exit 78   a later version of the worker wrote it
    │   └── StateUnwritable                   it cannot be created or written
    ├── LoginError                  exit 1    a login at a harness's vendor failed
    │   ├── LoginDenied                       the person or the vendor refused
    │   ├── LoginTimedOut                     no answer in time
    │   ├── CodeUnusable                      the browser's answer is not usable
    │   ├── CredentialUnreadable              a stored or received value is no credential
    │   ├── CredentialNotStored               the swarm did not store it
    │   ├── TokenRefused                      the vendor refuses the code or the refresh token
    │   ├── VendorFailed                      the vendor gave no usable answer
    │   └── RefreshBusy                       the refresh lock was held for too long
    ├── ContainerError              exit 1    the container cannot be prepared
    │   └── ScriptFailed        its own code  a set-up script failed, which is fatal
    ├── CloneStuck                            a clone cannot be brought up to date; never fatal
    └── ProviderError               exit 1    a harness could not be started
        ├── CredentialsMissing                it has no credential
        │   └── CredentialDamaged             its credential is damaged
        ├── UnknownModel                      the task's model cannot be used
        ├── CredentialUnusable                none of its logins works
        └── BinaryMissing                     its program is not installed

Leaves have fields; the command line prints any of them as one line and exits with `exit_code`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path, PurePath

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BROKEN_PIPE = 141
"""The shell's exit code for a program killed by SIGPIPE (128 + 13)."""
EXIT_LEFT = 75
"""``EX_TEMPFAIL`` of sysexits.h: not all was delivered; the same command may succeed later."""
EXIT_CONFIG = 78
"""``EX_CONFIG`` of sysexits.h; container charts expect it of a worker without credentials."""


class SwarmWorkerError(Exception):
    """The root of the tree."""

    exit_code: ClassVar[int] = EXIT_FAILURE
    advice: str = ""
    """What the operator can do, in one sentence; may be empty."""


class UsageError(SwarmWorkerError):
    exit_code: ClassVar[int] = EXIT_USAGE


class OutputLost(SwarmWorkerError):
    """Standard output cannot be written; ``reader_left`` if its reader has gone (``| head -1``)."""

    def __init__(self, why: str, *, reader_left: bool) -> None:
        self.why, self.reader_left = why, reader_left
        super().__init__(f"cannot write the output: {why}")


class ConfigError(SwarmWorkerError):
    exit_code: ClassVar[int] = EXIT_CONFIG


_MAX_VALUE_CHARS = 200


class BadSetting(ConfigError):
    def __init__(self, name: str, value: object, why: str) -> None:
        self.name, self.value, self.why = name, value, why
        shown = repr(value)
        if len(shown) > _MAX_VALUE_CHARS:
            shown = f"{shown[:_MAX_VALUE_CHARS]}… ({len(shown):,} characters)"
        super().__init__(f"{name}={shown} cannot be used: {why}")


class UnknownProvider(ConfigError):
    def __init__(self, name: str, supported: Sequence[str]) -> None:
        self.name, self.supported = name, tuple(supported)
        super().__init__(f"Unknown HARNESS_PROVIDER: {name!r}. Supported: {', '.join(supported)}")


class UnusableProvider(ConfigError):
    def __init__(self, name: str, distribution: str, why: str) -> None:
        self.name, self.distribution, self.why = name, distribution, why
        super().__init__(f"harness {name!r} of {distribution} cannot be loaded: {why}")


class UnreadableFile(ConfigError):
    def __init__(self, path: PurePath, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"cannot read {path}: {why}")


class BadHarnessProfiles(ConfigError):
    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"harness profiles cannot be used: {problems[0]}{rest}")
        self.advice = "`swarm-worker harness-profiles validate` names every mistake"


class MissingExtra(ConfigError):
    def __init__(self, feature: str, extra: str) -> None:
        self.feature, self.extra = feature, extra
        super().__init__(f"{feature} needs the extra {extra!r}")
        self.advice = f"pip install 'agent-swarm-worker[{extra}]'"


class PermissionsUnsupported(ConfigError):
    def __init__(self, harness: str, mode: str) -> None:
        self.harness, self.mode = harness, mode
        super().__init__(
            f"harness {harness!r} never asks for permission, so the policy {mode!r} cannot be kept"
        )
        self.advice = "set SWARM_PERMISSIONS=bypass, or HARNESS_PROVIDER to one that asks"


class CredentialWaitExceeded(ConfigError):
    def __init__(self, missing: Sequence[str], waited_s: float) -> None:
        self.missing, self.waited_s = tuple(missing), waited_s
        super().__init__(
            f"no credential after {waited_s:.0f} s; one of {' or '.join(missing)} is needed"
        )


class ApiError(SwarmWorkerError):
    """A request to the swarm API failed."""

    is_of_reading = False
    """True if it read back whether a write had arrived: the error is not about the write."""


class ApiUnreachable(ApiError):
    """No answer came; if ``ambiguous``, the server may have executed the request all the same."""

    def __init__(self, url: str, why: str, *, ambiguous: bool) -> None:
        self.url, self.why, self.ambiguous = url, why, ambiguous
        super().__init__(f"no answer from {url}: {why}")


class ApiGarbled(ApiError):
    """An answer violates the contract: HTML, half a body, a wrong shape."""

    def __init__(self, url: str, why: str) -> None:
        self.url, self.why = url, why
        super().__init__(f"{url} answered something that is not the swarm API: {why}")


class GatewayRefused(ApiGarbled):
    """A 4xx answer without the API's ``{"error": string}``: of a firewall or a proxy."""

    def __init__(self, url: str, status: int, message: str) -> None:
        super().__init__(url, f"{status} {message}")
        self.status, self.message = status, message


class ApiRefused(ApiError):
    def __init__(self, url: str, status: int, message: str, body: object = None) -> None:
        self.url, self.status, self.message, self.body = url, status, message, body
        self.retry_after_s = 0.0
        """Seconds that the answer asks to wait (``Retry-After``)."""
        super().__init__(f"{url} answered {status}: {message}")

    @property
    def is_server_fault(self) -> bool:
        """True for 5xx and 429: the same request may succeed later."""
        return self.status >= 500 or self.status == 429


class Unauthorized(ApiRefused):
    """401: the API key is missing or wrong."""


class RouteMissing(ApiRefused):
    """404 with plain text, or 405. An unknown *entity* answers 404 with JSON (docs/api.md 1.5)."""


class StateError(SwarmWorkerError):
    """The worker's own directory cannot be used."""


class StateLocked(StateError):
    def __init__(self, path: Path, pid: int | None) -> None:
        self.path, self.pid = path, pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"state directory {path} is in use by {owner}")
        self.advice = "give each worker an AGENT_ID of its own, or its own SWARM_STATE_DIR"


class StateMissing(StateError):
    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"no worker has left anything in {path}")
        self.advice = "set AGENT_ID and SWARM_STATE_DIR as for the worker, or ask for --all"


class StateUnwritable(StateError):
    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"state directory {path} cannot be written: {why}")
        self.advice = "set SWARM_STATE_DIR to a directory this user may write"


class StateNewer(StateError):
    """The state directory was written by a later version; nothing in it was changed."""

    exit_code: ClassVar[int] = EXIT_CONFIG

    def __init__(self, path: Path, version: int, known: int) -> None:
        self.path, self.version = path, version
        super().__init__(
            f"{path} was written by a newer worker (format {version}, this one knows {known}):"
            " run that version, or set another SWARM_STATE_DIR"
        )


class LoginError(SwarmWorkerError):
    """A login at a harness's vendor failed. No message of these has a secret in it."""

    is_transient: ClassVar[bool] = False
    """True if a retry may succeed without any change."""


class LoginDenied(LoginError):
    """The person or the vendor refused the login."""


class LoginTimedOut(LoginError):
    advice = "run it again; --timeout gives more time"


class CodeUnusable(LoginError):
    """The answer from the browser does not fit the request."""


class CredentialUnreadable(LoginError):
    """A stored or received value is no credential."""


class CredentialNotStored(LoginError):
    """The swarm did not store a credential."""


class TokenRefused(LoginError):
    """The vendor refuses the code or the refresh token; ``code`` is the protocol's, if any."""

    def __init__(self, what: str, status: int, code: str) -> None:
        self.status, self.code = status, code
        super().__init__(f"{what} was refused by the vendor ({status}{code and f', {code}'})")


class VendorFailed(LoginError):
    is_transient: ClassVar[bool] = True


class RefreshBusy(LoginError):
    is_transient: ClassVar[bool] = True


class ContainerError(SwarmWorkerError):
    """The container cannot be prepared for a worker."""


class ScriptFailed(ContainerError):
    """A set-up script failed and ``STARTUP_SCRIPT_STRICT`` is set; ``code`` is its exit code."""

    def __init__(self, script: str, code: int) -> None:
        self.script, self.code = script, code
        super().__init__(f"{script} failed with exit code {code} and STARTUP_SCRIPT_STRICT is set")


class CloneStuck(SwarmWorkerError):
    """Git's words; ``is_slow`` if it was only out of time."""

    def __init__(self, why: str, *, is_slow: bool = False) -> None:
        self.why, self.is_slow = why, is_slow
        super().__init__(why)


class ProviderError(SwarmWorkerError):
    category: ClassVar[str] = "provider_error"


class CredentialsMissing(ProviderError):
    category: ClassVar[str] = "authentication_failed"

    def __init__(
        self, harness: str, missing: Sequence[str], *, are_all_needed: bool = False
    ) -> None:
        self.harness, self.missing = harness, tuple(missing)
        names = (" and " if are_all_needed else " or ").join(missing)
        super().__init__(f"{harness} has no credential: set {names}")


class CredentialDamaged(CredentialsMissing):
    """The harness has a credential that cannot be read: not JSON, cut off, empty."""

    def __init__(self, harness: str, missing: Sequence[str], source: str, why: str) -> None:
        super().__init__(harness, missing)
        self.source, self.why = source, why
        self.args = (f"{harness} cannot use {source}: {why}",)


class UnknownModel(ProviderError):
    category: ClassVar[str] = "model_not_found"

    def __init__(self, model: str, why: str) -> None:
        self.model, self.why = model, why
        super().__init__(f"model {model!r} cannot be used: {why}")


class CredentialUnusable(ProviderError):
    category: ClassVar[str] = "authentication_failed"

    def __init__(self, harness: str, causes: Mapping[str, LoginError]) -> None:
        self.harness, self.causes = harness, dict(causes)
        tried = "; ".join(f"{name}: {cause}" for name, cause in causes.items())
        super().__init__(f"no login of {harness} could be used: {tried}")


class BinaryMissing(ProviderError):
    category: ClassVar[str] = "binary_missing"

    def __init__(self, program: str, why: str = "not found on PATH") -> None:
        self.program, self.why = program, why
        super().__init__(f"cannot run {program!r}: {why}")
