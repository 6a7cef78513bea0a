"""The worker's own records of a session at a vendor, and the base of the translator for them.

    system      create (before the vendor is asked), init, api_retry (their ``subtype``)
    stderr      a warning
    result      the last record: how the session ended

A vendor's own records stand between them. The journal then tells the next process what to end at
the vendor if this one is killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.contract import Error, Progress, ProviderEvent, RawStderr, SessionInit
from agent_swarm_worker.providers.kit.event_stream import EventTranslator
from agent_swarm_worker.providers.kit.native import count, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig

Record: TypeAlias = dict[str, Any]


def create() -> Record:
    """A session is about to be created at the vendor."""
    return {"type": "system", "subtype": "create"}


def init(session_id: str, *, resumed: bool, **details: Any) -> Record:
    """The vendor has the session."""
    known = {"session_id": session_id, "resumed": resumed}
    return {"type": "system", "subtype": "init", **known, **details}


def retry(attempt: int, most: int, delay_s: float, reason: str) -> Record:
    """A request failed and will be repeated."""
    delay = {"attempt": attempt, "most": most, "delay_ms": round(delay_s * 1000)}
    return {"type": "system", "subtype": "api_retry", **delay, "error": reason}


def warning(message: str) -> Record:
    """Something did not work; the session goes on, or is over."""
    return {"type": "stderr", "content": message}


def end(failed: Failure | None, duration_ms: int, *, resets_at_s: float | None = None) -> Record:
    """The session ended; `resets_at_s` is when the limit ends that it hit."""
    return {
        "type": "result",
        "subtype": "error" if failed else "stop",
        "duration_ms": duration_ms,
        "category": failed.category if failed else None,
        "error": failed.reason if failed else None,
        "resets_at_s": resets_at_s,
    }


class VendorTranslator(EventTranslator):
    """Translates the records of this module; a harness adds `read_native` for its vendor's."""

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        super().__init__(config, clock=clock)
        self.is_requested = False
        """The vendor was asked for a session, which it may have created."""
        self.first: Record = {}
        """The record ``init``."""
        self.duration_ms: int | None = None

    @property
    def session_id(self) -> str | None:
        """The vendor's id of the session."""
        return self.state.session_id

    @property
    def may_run_there(self) -> bool:
        """True if there may be a session at the vendor, and it has no result yet."""
        return (self.is_requested or self.session_id is not None) and not self.is_final

    def read_native(self, kind: str, event: Record) -> Iterable[ProviderEvent]:
        """Translate one record of the vendor's; skip an unknown one."""
        raise NotImplementedError

    def provider_meta(self, first: Record) -> Record:
        """Return the metadata of the session for the server."""
        del first
        return {}

    def read(self, kind: str, event: Record) -> Iterable[ProviderEvent]:
        """Translate one record."""
        match kind, event.get("subtype"):
            case "system", "create":
                self.is_requested = True
                self.state.session_id = None  # of one that took no messages
                return (Progress("Asking the vendor for a session"),)
            case "system", "init":
                return self._init(event)
            case "system", "api_retry":
                delay_s = (number(event.get("delay_ms")) or 0) / 1000
                attempt = f"{event.get('attempt')} of {event.get('most')}"
                again = f"trying again in {delay_s:.0f} s ({attempt})"
                return (Progress(f"{text(event.get('error'))}; {again}"),)
            case "stderr", _:
                return (RawStderr(text(event.get("content"))),)
            case "result", _:
                return self._result(event)
            case _:
                return self.read_native(kind, event)

    def _init(self, event: Record) -> Iterator[ProviderEvent]:
        self.first = event
        self.state.session_id = text(event.get("session_id"))
        for _ in self.begin("", text(event.get("model"))):
            pass  # sets the model and its window only
        yield SessionInit(
            self.state.session_id,
            provider=self.spec.server_name,
            provider_meta=self.provider_meta(event),
            model=self.state.model or None,
        )
        if event.get("resumed") is True:
            yield Progress("Continuing the earlier session")

    def _result(self, event: Record) -> Iterator[ProviderEvent]:
        self.duration_ms = count(event.get("duration_ms"))
        self.state.limits.note_end([number(event.get("resets_at_s"))])
        failed = None
        if event.get("subtype") != "stop":
            failed = Failure(text(event.get("category")) or None, text(event.get("error")))
            yield Error(failed.reason, failed.category)
        yield from self.finish(failed)

    def cost_details(self) -> dict[str, Any]:
        """Return the session's duration."""
        return {"duration_ms": self.duration_ms}


def parsed(value: Any, key: str) -> Record:
    """Return an object in an object."""
    return mapping(mapping(value).get(key))
