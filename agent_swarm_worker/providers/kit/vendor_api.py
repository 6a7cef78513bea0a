"""Call the HTTP API of a vendor at which sessions run: JSON, and streams of server-sent events.

Every exchange has a time limit as a whole, and every answer a size limit. A failure says whether
the same request may succeed later, and whether it may have been carried out.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import anyio
import orjson

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.errors import CredentialsMissing, ProviderError
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.network import http_client, seconds_asked
from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from typing import Self

    import httpx2

MAX_ANSWER_BYTES: Final = 32 << 20
MAX_EVENT_BYTES: Final = 32 << 20
MAX_SHOWN_CHARS: Final = 300
MAX_RETRY_AFTER_S: Final = 900.0
"""Longest ``Retry-After`` that is obeyed."""
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 30.0
_RETRIED: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 with which the same request may succeed later."""


class VendorError(ProviderError):
    """A request to a vendor failed."""

    def __init__(
        self,
        kind: str,
        reason: str,
        *,
        status: int | None = None,
        retry_after_s: float = 0.0,
        is_transient: bool = False,
        is_ambiguous: bool = False,
    ) -> None:
        self.kind, self.status, self.retry_after_s = kind, status, retry_after_s
        self.reason = one_line(reason, MAX_SHOWN_CHARS)
        self.is_transient = is_transient
        """The same request may succeed later."""
        self.is_ambiguous = is_ambiguous
        """The vendor may have carried it out all the same."""
        super().__init__(self.reason)

    def pause_s(self, failures: int, least_s: float | None = None) -> float:
        """Return how long to wait after so many failures: as asked, or longer each time."""
        least_s = FIRST_PAUSE_S if least_s is None else least_s
        grown = min(least_s * 2.0 ** min(failures - 1, 16), max(MAX_PAUSE_S, least_s))
        return max(grown, self.retry_after_s)


def keys_of(harness: str, needed: Mapping[str, str]) -> list[str]:
    """Return the keys of a pool: `needed` has the variable with them first.

    Raises:
        CredentialsMissing: one of the variables is blank, or there is no key.
    """
    keys = [key.strip() for key in next(iter(needed.values())).split(",") if key.strip()]
    missing = [name for name, value in needed.items() if not value.strip(" ,")]
    if missing:
        raise CredentialsMissing(harness, missing, are_all_needed=True)
    return keys


class VendorApi:
    """The API of one vendor with one key; an asynchronous context manager."""

    @classmethod
    def with_each_key(cls, env: Mapping[str, str], *, clock: Clock | None = None) -> list[Self]:
        """Return the API with each key of a pool; raises `ConfigError` or `CredentialsMissing`."""
        raise NotImplementedError

    @classmethod
    def of_session(cls, env: Mapping[str, str], *, clock: Clock | None = None) -> Self:
        """Return the API with the first key; raises the errors of `with_each_key`."""
        return cls.with_each_key(env, clock=clock)[0]

    async def get(self, session_id: str) -> dict[str, Any]:
        """Return a session as the vendor describes it."""
        raise NotImplementedError

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        *,
        variable: str,
        timeout_s: float,
        clock: Clock | None = None,
    ) -> None:
        """Prepare a client.

        Args:
            name: of the vendor, as it begins a sentence.
            base_url: of its API.
            headers: of every request, with the key.
            variable: the setting with the address, for the error.
            timeout_s: of a whole exchange, and of the silence in a stream.
            clock: for dates in ``Retry-After``.

        Raises:
            ConfigError: the address, a proxy or a file of certificates cannot be used.
        """
        self._name, self._base = name, base_url.rstrip("/")
        self._timeout_s, self._clock = timeout_s, clock or SystemClock()
        self._client = http_client(
            base_url, timeout=timeout_s, name=variable, headers=dict(headers)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await self._client.aclose()

    async def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> dict[str, Any]:
        """Return the JSON object of the answer; raises `VendorError`."""
        is_safe = method == "GET"
        try:
            with anyio.fail_after(self._timeout_s):
                async with self._response(method, path, body, query, is_safe=is_safe) as response:
                    content = await self._content(response)
        except TimeoutError:
            why = f"{self._name} did not answer within {self._timeout_s:g} s"
            raise self._network(why, is_safe=is_safe) from None
        try:
            answer = orjson.loads(content) if content.strip() else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            start = content[:100].decode("utf-8", "replace")
            why = f"{self._name} answered something that is not its API: {start}"
            raise VendorError(
                ErrorClass.SERVER_ERROR, why, is_transient=True, is_ambiguous=not is_safe
            )
        return answer

    @asynccontextmanager
    async def events(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a stream of server-sent events; the block reads the data of each.

        The iterator ends with the stream, and raises `VendorError` if it is cut off or silent.
        """
        async with self._response("GET", path, None, (), is_safe=True) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                why = f"{self._name} answered {kind or 'nothing'} instead of a stream of events"
                raise VendorError(ErrorClass.SERVER_ERROR, why, is_transient=True)
            async with aclosing(self._data_of(response)) as data:
                yield data

    async def _data_of(self, response: httpx2.Response) -> AsyncGenerator[bytes]:
        lines: list[bytes] = []
        rest = b""
        try:
            async for chunk in response.aiter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                if len(rest) + sum(map(len, lines)) > MAX_EVENT_BYTES:
                    raise self._too_long(MAX_EVENT_BYTES)  # noqa: TRY301 - passed on below
                for line in whole:
                    field, _, value = line.rstrip(b"\r").partition(b":")
                    if field == b"data":
                        lines.append(value.removeprefix(b" "))
                    elif not field and not value and lines:
                        yield b"\n".join(lines)
                        lines = []
        except Exception as error:
            raise self._failure(error, is_safe=True) from error

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Sequence[tuple[str, str]],
        *,
        is_safe: bool,
    ) -> AsyncIterator[httpx2.Response]:
        url = self._base + path + (f"?{urlencode(query)}" if query else "")
        try:
            content = None if body is None else orjson.dumps(body)
            headers = {} if content is None else {"content-type": "application/json"}
            request = self._client.build_request(method, url, content=content, headers=headers)
            with anyio.fail_after(self._timeout_s):
                response = await self._client.send(request, stream=True)
        except Exception as error:
            raise self._failure(error, is_safe=is_safe) from error
        try:
            if not response.is_success:
                with anyio.move_on_after(self._timeout_s):
                    raise self._refusal(response, await self._content(response))
                raise self._refusal(response, b"")
            yield response
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await response.aclose()

    async def _content(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise self._too_long(MAX_ANSWER_BYTES)  # noqa: TRY301 - passed on below
        except Exception as error:
            is_safe = response.request.method == "GET"
            raise self._failure(error, is_safe=is_safe) from error
        return bytes(content)

    def _failure(self, error: Exception, *, is_safe: bool) -> Exception:
        """Return the error to raise for one of the HTTP library."""
        import httpx2  # noqa: PLC0415 - imported with the first request

        if isinstance(error, (TimeoutError, httpx2.TimeoutException)):
            why = f"{self._name} did not answer within {self._timeout_s:g} s"
            was_sent = not isinstance(error, (httpx2.ConnectTimeout, httpx2.PoolTimeout))
            return self._network(why, is_safe=is_safe or not was_sent)
        if isinstance(error, httpx2.HTTPError):
            was_sent = not isinstance(error, httpx2.ConnectError)
            why = f"no answer from {self._name}: {str(error) or type(error).__name__}"
            return self._network(why, is_safe=is_safe or not was_sent)
        return error

    def _too_long(self, most_bytes: int) -> VendorError:
        why = f"{self._name} sent more than {most_bytes >> 20} MiB at once"
        return VendorError(ErrorClass.SERVER_ERROR, why)

    @staticmethod
    def _network(why: str, *, is_safe: bool) -> VendorError:
        return VendorError(ErrorClass.NETWORK, why, is_transient=True, is_ambiguous=not is_safe)

    def _refusal(self, response: httpx2.Response, content: bytes) -> VendorError:
        status, message = response.status_code, _message(content)
        kind = classify_error(message, status=status)
        why = f"{self._name} answered {status}: {message}"
        return VendorError(
            "stale_session" if status in (404, 410) else kind,
            why,
            status=status,
            retry_after_s=seconds_asked(
                response.headers.get("retry-after", ""), self._clock.now(), MAX_RETRY_AFTER_S
            ),
            is_transient=status >= 500 or status in _RETRIED,
            is_ambiguous=status >= 500 and response.request.method != "GET",
        )


def path_part(value: str) -> str:
    """Return an id as one part of a path."""
    return quote(value, safe="")


def _message(content: bytes) -> str:
    """Return the message in the body of a refusal; its start if it is no JSON."""
    try:
        body = mapping(orjson.loads(content))
    except ValueError:
        return one_line(content[:1000].decode("utf-8", "replace"), MAX_SHOWN_CHARS) or "no reason"
    error = body.get("error")
    details = "; ".join(text(mapping(detail).get("msg")) for detail in items(body.get("detail")))
    named = (mapping(error).get("message"), error, body.get("detail"), body.get("message"))
    return next(filter(None, map(text, named)), details or "no reason")
