"""Run a session at a vendor: create it once, follow it, and end it there whatever happens here.

A harness adds the requests of its vendor. The vendor's id is journaled as soon as it is known, and
before the vendor is asked for a session a mark of it: with them a later process ends what this one
had to leave (`contract.RemoteSessions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio
import orjson
from anyio.lowlevel import checkpoint

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import Ending
from agent_swarm_worker.errors import ConfigError, ProviderError
from agent_swarm_worker.guards.rate_limits import LIMITS
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.kit import vendor_records as records
from agent_swarm_worker.providers.kit.outcome import ABORTED_EXIT, MAX_REASON_CHARS, Failure
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.kit.vendor_api import VendorApi, VendorError
from agent_swarm_worker.providers.kit.vendor_records import Record, VendorTranslator
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent_swarm_worker.contract import ProviderResult, ProviderSessionConfig

MAX_FAILURES: Final = 10
"""Failures of a request, or of the polling, in succession; then the session ends."""
END_S: Final = 20.0
"""How long the vendor is asked to end a session; the worker waits 30 s for one to end."""
CREATE_S: Final = 3.0
"""How long an aborted session waits for the answer to the request that creates it."""
GOES_ON_LATER: Final = frozenset({"paused", "graceful_shutdown"})
"""Reasons of an abort after which the session may be resumed."""
POLL_FAILURE: Final = "poll_failure"

T = TypeVar("T", bound=VendorTranslator)
A = TypeVar("A", bound=VendorApi)


class SessionFailed(ProviderError):
    """The session cannot continue."""

    def __init__(self, failed: Failure, *, resets_in_s: float = 0.0) -> None:
        self.failed, self.resets_in_s = failed, resets_in_s
        super().__init__(failed.reason)

    @classmethod
    def of(cls, error: VendorError, *, gave_up: bool = False) -> SessionFailed:
        """Return the failure of a session that ends with this error.

        `gave_up`: it is the last of `MAX_FAILURES`, which have a class of their own unless they
        tell of a limit.
        """
        kind = POLL_FAILURE if gave_up and error.kind not in LIMITS else error.kind
        reason = f"{MAX_FAILURES} failures in succession: {error}" if gave_up else str(error)
        return cls(Failure(kind, reason), resets_in_s=error.retry_after_s)


class VendorSession(BaseSession, Generic[T]):
    """The base of a session at a vendor; `abort` cancels it at any point."""

    title: str
    """The vendor's agent as it begins a sentence."""

    def __init__(
        self,
        config: ProviderSessionConfig,
        translator: T,
        api: VendorApi,
        *,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(config, clock=clock or SystemClock())
        self.translator, self.api = translator, api
        self.is_over_there = False
        """The vendor has said that the session does not run any more."""
        self._abort_reason: str | None = None
        self._scope = anyio.CancelScope()
        self._creating = anyio.CancelScope()
        self._result: ProviderResult | None = None

    # --- of a harness
    async def follow(self) -> None:
        """Create or resume the session, and follow it to its end; raises `SessionFailed`."""
        raise NotImplementedError

    async def find(self) -> Mapping[str, Any] | None:
        """Return the session that was created with this one's mark; ``None`` if there is none."""
        raise NotImplementedError

    async def end(self, session_id: str, *, goes_on_later: bool) -> None:
        """End the session at the vendor; raises `VendorError` until that has confirmed it."""
        raise NotImplementedError

    async def before_result(self) -> None:
        """Fetch what is known at the end only, such as the cost."""

    # --- of the worker
    async def abort(self, reason: str = "cancelled") -> None:
        """Cancel the current request or wait, and end the session at the vendor."""
        if self._abort_reason is None:
            self._abort_reason = reason
            self.log.info(Event.SESSION_ABORTED, reason=reason)
            self._creating.deadline = anyio.current_time() + CREATE_S
            self._scope.cancel()

    async def wait_for_completion(self) -> ProviderResult:
        """Run the session to its end."""
        if self._result is None:
            try:
                async with self.api:
                    self._result = await self._run_to_result()
            finally:
                self.close_journal()
        return self._result

    async def _run_to_result(self) -> ProviderResult:
        started_s = self.clock.monotonic()
        failed: Failure | None = Failure("aborted", "Session was aborted")
        resets_at_s = None
        left = ""
        try:
            with self._scope:
                failed, resets_at_s = await self._run()
            if self._scope.cancelled_caught:
                failed = Failure("aborted", f"Session was aborted: {self._abort_reason}")
        finally:
            with anyio.CancelScope(shield=True):
                if failed is not None and not self.is_over_there:
                    left = await self._end_there()
                with anyio.move_on_after(CREATE_S):
                    await self.before_result()
        if failed is not None and left:
            failed = Failure(failed.category, one_line(f"{failed.reason}; {left}"))
        duration_ms = round((self.clock.monotonic() - started_s) * 1000)
        self.record(records.end(failed, duration_ms, resets_at_s=resets_at_s))
        aborted = failed is not None and failed.category == "aborted"
        exit_code = (ABORTED_EXIT if aborted else 1) if failed else 0
        reason = self._abort_reason if aborted else None
        return self.translator.conclude(
            Ending(exit_code=exit_code, aborted=reason, duration_ms=duration_ms)
        )

    async def _run(self) -> tuple[Failure | None, float | None]:
        """Follow the session; return why it failed, and when the limit ends that it hit."""
        try:
            await self.follow()
        except SessionFailed as error:
            until_s = self.clock.now().timestamp() + error.resets_in_s
            return error.failed, until_s if error.resets_in_s else None
        except VendorError as error:
            until_s = self.clock.now().timestamp() + error.retry_after_s
            return Failure(error.kind, str(error)), until_s if error.retry_after_s else None
        except ConfigError as error:
            return Failure("provider_error", f"{error} {error.advice}"), None
        except Exception as error:  # a bug must end this session only
            self.log.error(Event.TRANSLATE_FAILED, why=repr(error))
            reason = one_line(f"{self.title} cannot be followed: {error!r}", MAX_REASON_CHARS)
            return Failure("internal_error", reason), None
        return None, None

    def record(self, *lines: Record) -> None:
        """Take records: they are scrubbed, journaled and translated."""
        self.take([orjson.dumps(line, default=str) for line in lines], self.translator)

    async def created(self, method: Callable[[], Awaitable[Record]]) -> Record:
        """Create the session once, however often that has to be tried; return the answer.

        The request is not cancelled by `abort`, which only limits it: what it creates must be
        ended. A request that may have been carried out is looked for before it is repeated.
        """
        self.record(records.create())

        async def attempt() -> Record:
            await checkpoint()
            with anyio.CancelScope(shield=True) as self._creating:
                return await method()
            await checkpoint()  # raises, as only `abort` limits the scope
            raise SessionFailed(Failure("aborted", "it was aborted while it was created"))

        return await self.retried(attempt, find=self.find)

    async def retried(
        self,
        request: Callable[[], Awaitable[Record]],
        *,
        find: Callable[[], Awaitable[Mapping[str, Any] | None]] | None = None,
    ) -> Record:
        """Make a request until it succeeds, fails for good, or has failed `MAX_FAILURES` times.

        `find` returns the answer of one that was carried out without an answer. Without it such a
        request is not repeated. Raises `SessionFailed`.
        """
        failures, is_ambiguous = 0, False
        while True:
            try:
                if is_ambiguous and find is not None and (found := await find()) is not None:
                    return dict(found)
                is_ambiguous = False
                return await request()
            except VendorError as error:
                failures += 1
                is_ambiguous = is_ambiguous or error.is_ambiguous
                if not error.is_transient or (is_ambiguous and find is None):
                    raise SessionFailed.of(error) from error
                await self.pause(error, failures)

    async def pause(self, error: VendorError, failures: int, least_s: float | None = None) -> None:
        """Wait before a request is repeated; raises `SessionFailed` after `MAX_FAILURES`."""
        if failures >= MAX_FAILURES:
            raise SessionFailed.of(error, gave_up=True) from error
        delay_s = error.pause_s(failures, least_s)
        self.record(records.retry(failures, MAX_FAILURES, delay_s, str(error)))
        await self.clock.sleep(delay_s)

    async def _end_there(self) -> str:
        """End the session at the vendor; return what is left there, empty if nothing is."""
        known = self.translator.session_id
        if known is None and not self.translator.is_requested:
            return ""

        async def end() -> None:
            session_id = known or _id_of(await self.find())
            if session_id:
                later = self._abort_reason in GOES_ON_LATER
                await self.end(session_id, goes_on_later=later)

        why = await ended(end, self.clock)
        if not why:
            return ""
        left = f"{self.title} may go on at the vendor ({known or 'a session without an id'}): {why}"
        self.record(records.warning(left))
        self.log.error(Event.SESSION_HUNG, session=known, why=left)
        return left


async def ended(end: Callable[[], Awaitable[None]], clock: Clock) -> str:
    """Ask a vendor to end a session, repeatedly; return why it has not confirmed that."""
    why, failures = f"no answer within {END_S:g} s", 0
    with anyio.move_on_after(END_S):
        while True:
            try:
                await end()
            except VendorError as error:
                why, failures = str(error), failures + 1
                if not error.is_transient:
                    return why
                await clock.sleep(min(error.pause_s(failures, 0.5), 5.0))
            else:
                return ""
    return why


async def end_orphan(
    title: str, apis: Sequence[A], end: Callable[[A], Awaitable[None]], clock: Clock
) -> None:
    """End a session of a killed worker with the first key that the vendor accepts for it.

    A session that the vendor knows with none of the keys is gone. Raises `SessionFailed`.
    """
    why = ""
    for api in apis:
        is_gone = False

        async def attempt(api: A = api) -> None:
            nonlocal is_gone
            try:
                await end(api)
            except VendorError as error:
                is_gone = error.status in (404, 410)
                if not is_gone:
                    raise

        async with api:
            refusal = await ended(attempt, clock)
        if not (refusal or is_gone):
            return
        why = why or refusal
    if why:
        raise SessionFailed(Failure("not_ended", f"{title} may go on at the vendor: {why}"))


def unknown_session() -> VendorError:
    """Return the error of `end_orphan` for a mark that is on no session of a key."""
    return VendorError("not_found", "no session has the mark of this one", status=404)


def _id_of(found: Mapping[str, Any] | None) -> str:
    values = found or {}
    return str(values.get("session_id") or values.get("id") or "")
