"""Makes one HTTP call to the swarm API; returns parsed JSON or raises an `errors.ApiError`.

No endpoint is named here, and no module above handles HTTP. `read_answer` is pure: it turns status
and bytes into a value or an exception.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import urlencode, urlsplit

import anyio
import httpcore2
import orjson

from agent_swarm_worker.api.connections import FAILURES, Connections
from agent_swarm_worker.api.values import MAX_ID_BYTES, encode, is_identifier
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    BadSetting,
    GatewayRefused,
    RouteMissing,
    Unauthorized,
)
from agent_swarm_worker.network import Address, fits_a_header, header, seconds_asked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.api.health import ApiHealth

MAX_ANSWER_BYTES = 32 * 1024 * 1024
LARGE_BYTES = 1024 * 1024
"""Larger answers are read one at a time, which bounds the memory of concurrent ones."""
USER_AGENT = "swarm-worker"
RETRIED_STATUSES = (408, 425, 429)
"""Statuses of temporary refusals, by the API or a gateway."""
MAX_REST_S = 300.0
"""Longest ``Retry-After`` that is obeyed."""
_JSON = (b"Content-Type", b"application/json")


class Http:
    """The connection of one process to one swarm API. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        health: ApiHealth,
        api_key: str = "",
        agent_id: str | None = None,
        runtime_instance_id: str | None = None,
        timeout_s: float = 15.0,
    ) -> None:
        """Prepare the connection; nothing is sent yet.

        Args:
            base_url: of the API.
            health: gets the outcome of every call.
            api_key: sent as a bearer token; no header at all when empty.
            agent_id: of the caller; ``None`` for a tool that is no agent.
            runtime_instance_id: new in each process; servers that allow several runtimes per
                agent silently return no work without it (docs/api.md 2.5).
            timeout_s: default wall-clock limit of a call.

        Raises:
            BadSetting: the URL or a header value is not valid.
        """
        self.health = health
        self.agent_id = agent_id
        self.runtime_instance_id = runtime_instance_id
        key = header("API_KEY", api_key.strip(), secret=True)
        address = Address.parse(base_url, has_key=bool(key))
        self.shown_url = address.shown
        """The base URL without credentials, for log and error texts."""
        self._timeout_s = timeout_s
        self._large = anyio.Lock()
        identity = {}
        if agent_id:
            identity["X-Agent-ID"] = header("AGENT_ID", agent_id)
            if not is_identifier(agent_id):
                why = f"an id has at most {MAX_ID_BYTES} characters, and no slash or '..'"
                raise BadSetting("AGENT_ID", agent_id, why)
        if runtime_instance_id:
            identity["X-Runtime-Instance-ID"] = header("runtime id", runtime_instance_id)
        authorization = f"Bearer {key}" if key else address.login and f"Basic {address.login}"
        always = {
            "Host": address.host_header,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            "Authorization": authorization,
        }
        self._anonymous = _encoded(always)
        self._identified = _encoded(always | identity)
        self._address = address
        self._connections = Connections(address)
        self._rests: dict[tuple[str, str], tuple[float, ApiRefused]] = {}
        """By method and path: the refusals that ask to wait, and when they came."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.aclose()

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Do as `request`, for an answer that must be a JSON object; ``{}`` without a body."""
        answer = await self.request(method, path, **options)
        if answer is None:
            return {}
        if not isinstance(answer, dict):
            raise ApiGarbled(self.shown_url + path, "JSON, but not an object")
        return answer

    async def write(self, path: str, **options: Any) -> dict[str, Any]:
        """POST to a route that every server has, and that answers with a JSON object.

        Raises:
            GatewayRefused: also for the answer of a server without this route.
            ApiGarbled: also for an empty answer.
        """
        try:
            answer = await self.request("POST", path, **options)
        except RouteMissing as error:
            raise GatewayRefused(error.url, error.status, error.message) from None
        if not isinstance(answer, dict):
            raise ApiGarbled(self.shown_url + path, "no JSON object")
        return answer

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        params: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
        timeout_s: float | None = None,
        identified: bool = True,
    ) -> Any:
        """Make one call and return the parsed answer, ``None`` if it has no body.

        Args:
            method: GET, POST and so on.
            path: below the base URL; identifiers in it go through `address.segment`.
            body: sent as JSON, without keys whose value is ``None``.
            content: sent instead of `body`: JSON that is encoded already.
            params: the query, without keys whose value is ``None``.
            headers: additional; a value that a header cannot carry is left out.
            timeout_s: wall-clock limit, from resolving the name to the last byte.
            identified: send agent id and runtime instance id.

        Raises:
            ApiUnreachable: no answer.
            ApiGarbled: an answer that breaks the contract.
            ApiRefused: a 4xx or 5xx status, or its subclasses `Unauthorized` and `RouteMissing`;
                without a request if the last answer to the same one asked to wait.
        """
        sent = self._identified if identified else self._anonymous
        if headers:
            sent = [*sent, *_encoded(headers)]
        if body is not None:
            content = encode(body)
        if content is not None:
            sent = [*sent, _JSON, (b"Content-Length", b"%d" % len(content))]
        elif method not in {"GET", "DELETE"}:
            sent = [*sent, (b"Content-Length", b"0")]
        query = urlencode({k: v for k, v in params.items() if v is not None}) if params else ""
        target = self._address.below(path + "?" * bool(query) + query)
        request = httpcore2.Request(method, target, headers=sent, content=content)
        exchange, url = _Exchange(self._connections, request, self._large), self.shown_url + path
        self._check_rest(method, path)
        try:
            with exchange:
                await exchange.run(url, timeout_s or self._timeout_s)
                answer = read_answer(url, exchange.status, exchange.content_type, exchange.body)
        except ApiError as error:
            if isinstance(error, ApiRefused) and exchange.retry_after:
                error.retry_after_s = seconds_asked(
                    exchange.retry_after, self.health.clock.now(), MAX_REST_S
                )
                self._rests[method, path] = self.health.clock.monotonic(), error
            if exchange.location and not isinstance(error, ApiRefused):
                error = ApiGarbled(url, f"redirect ({exchange.status}) to {exchange.location}")
            self._note(error)
            raise error from None
        self.health.record_answer(has_body=answer is not None)
        return answer

    def _check_rest(self, method: str, path: str) -> None:
        """Raise the last refusal of this request again until its ``Retry-After`` is over."""
        now_s = self.health.clock.monotonic()
        for key, (since_s, error) in list(self._rests.items()):
            left_s = since_s + error.retry_after_s - now_s
            if left_s <= 0:
                del self._rests[key]
            elif key == (method, path):
                again = ApiRefused(error.url, error.status, error.message, error.body)
                again.retry_after_s = left_s
                raise again

    def _note(self, error: ApiError) -> None:
        """Record a failed call. A refusal is an answer, but one of a gateway is not the API's."""
        if isinstance(error, GatewayRefused) and error.status != 404:
            # Mostly over what was sent; in a row, whatever is sent.
            self.health.record_server_error(error)
        elif not isinstance(error, ApiRefused) or error.status in {502, 503, 504}:
            self.health.record_failure(error)
        elif error.status < 500:
            self.health.record_answer()
        else:
            self.health.record_server_error(error)


class _Exchange:
    """One request and its answer. Leave the context when the answer was parsed."""

    def __init__(
        self, connections: Connections, request: httpcore2.Request, large: anyio.Lock
    ) -> None:
        self._connections, self._request = connections, request
        self._large, self._is_large = large, False
        self._sent = False
        self._has_body = any(name == _JSON[0] for name, _ in request.headers)
        self.status = 0
        self.content_type = self.retry_after = self.location = ""
        self.body = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.body = bytearray()
        # `trace` closes a reference cycle, which would hold the request's body in memory until the
        # garbage collector runs.
        self._request.extensions.pop("trace", None)
        if self._is_large:
            self._large.release()

    async def run(self, url: str, timeout_s: float) -> None:
        """Send the request and read status and body.

        Raises:
            ApiUnreachable: no answer; ambiguous once a byte of the request was sent.
            ApiGarbled: the answer broke off, or is too long.
        """
        try:
            with anyio.fail_after(timeout_s):
                connection = await self._connections.take()
                try:
                    await self._exchange(connection, url)
                finally:
                    self._connections.give_back(connection)
        except TimeoutError:
            why = f"no complete answer within {timeout_s:g} s"
            raise ApiUnreachable(url, why, ambiguous=self._sent) from None
        except FAILURES as error:
            if self.status:
                raise ApiGarbled(url, f"the answer broke off ({_why(error)})") from None
            raise ApiUnreachable(url, _why(error), ambiguous=self._sent) from None

    async def _exchange(self, connection: httpcore2.AsyncConnectionInterface, url: str) -> None:
        self._sent = connection.is_connected()
        if not self._sent:
            self._request.extensions["trace"] = self._trace
        try:
            response = await connection.handle_async_request(self._request)
            self.status = response.status
            self._read_headers(response, url)
            assert isinstance(response.stream, AsyncIterable)
            async for chunk in response.stream:
                self.body += chunk
                if len(self.body) > LARGE_BYTES:
                    await self._limit_size(url)
            await response.aclose()
            if response.status >= HTTPStatus.BAD_REQUEST and self._has_body:
                # A gateway that refuses a body unread closes the connection, without saying so.
                await connection.aclose()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.aclose()
            raise

    async def _limit_size(self, url: str) -> None:
        if len(self.body) > MAX_ANSWER_BYTES:
            raise ApiGarbled(url, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        if not self._is_large:
            await self._large.acquire()
            self._is_large = True

    def _read_headers(self, response: httpcore2.Response, url: str) -> None:
        for name, value in response.headers:
            match name.lower():
                case b"content-type":
                    self.content_type = value.decode("latin-1")
                case b"retry-after" if self.status in {*RETRIED_STATUSES, 503}:
                    self.retry_after = value.decode("latin-1")
                case b"location" if 300 <= self.status < 400:
                    # Without path, query and credentials, which may be secrets.
                    target = urlsplit(value.decode("latin-1"))
                    if target.hostname:
                        self.location = f"{target.scheme or 'http'}://{target.hostname}"
                case b"content-encoding" if value.strip().lower() not in {b"", b"identity"}:
                    # The request asked for plain bytes; compressed ones may expand to gigabytes.
                    raise ApiGarbled(url, "an answer that is compressed")

    async def _trace(self, name: str, _: Mapping[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            self._sent = True


def _encoded(headers: Mapping[str, str | None]) -> list[tuple[bytes, bytes]]:
    return [(k.encode(), v.encode()) for k, v in headers.items() if v and fits_a_header(v)]


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


Body: TypeAlias = "bytes | bytearray"
MAX_MESSAGE_CHARS = 300
_MISSING = object()
MAX_VALUES = 500_000
"""JSON values of one answer: parsed, a byte of JSON can take fifty of memory."""
_SURELY_TOO_MANY = 4 * MAX_VALUES
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""A backslash, a pair of surrogates, or (in the group) half of one."""
_NO_SUCH_ROUTE = re.compile(rb"\W*(404)?\W*not found\W*", re.IGNORECASE)
"""The answer to an unknown route, in plain text (docs/api.md 1.5); an unknown entity is JSON."""
_MAX_NO_ROUTE_BYTES = 200
"""Longest body matched against `_NO_SUCH_ROUTE`, whose cost is not linear in blanks."""


def read_answer(url: str, status: int, content_type: str, body: Body) -> Any:
    """Return the parsed body of a success, ``None`` if it is empty.

    The URL (without credentials) and the content type only describe what is wrong.

    Raises:
        ApiGarbled: the answer is a redirect, HTML, or not JSON.
        GatewayRefused: the status is 4xx, and the body is not the API's.
        ApiRefused: the status is 4xx or 5xx.
    """
    if 200 <= status < 300:
        return _value(url, content_type, body)
    if 300 <= status < 400:
        # Not followed: that would repeat a write at another address as a GET.
        raise ApiGarbled(url, f"redirect ({status})")
    raise _refusal(url, status, content_type, body)


def _value(url: str, content_type: str, body: Body) -> Any:
    if not body or body.isspace():
        return None
    parsed = _parse(body)
    if parsed is _MISSING:
        raise ApiGarbled(url, _description(content_type, body))
    return parsed


def _refusal(url: str, status: int, content_type: str, body: Body) -> ApiError:
    parsed = _parse(body)
    message = _message(status, parsed)
    value = None if parsed is _MISSING else parsed
    if status == 401:
        return Unauthorized(url, status, message, value)
    if status == 405 and not _is_html(content_type, body):
        return RouteMissing(url, status, message, value)
    if status == 404 and len(body) <= _MAX_NO_ROUTE_BYTES and _NO_SUCH_ROUTE.fullmatch(body):
        return RouteMissing(url, status, message)
    if status < 500 and status not in RETRIED_STATUSES and not _is_api_error(content_type, parsed):
        # Of a firewall, or a proxy whose server is being replaced. A 404 among them that was taken
        # for a missing route would switch the feature off.
        return GatewayRefused(url, status, f"with {_description(content_type, body)}")
    return ApiRefused(url, status, message, value)


def _is_api_error(content_type: str, parsed: Any) -> bool:
    """True for ``{"error": string}`` as JSON (docs/api.md 1.5)."""
    is_json = not content_type or "json" in content_type.lower()
    return is_json and isinstance(parsed, dict) and isinstance(parsed.get("error"), str)


def _parse(body: Body) -> Any:
    if _has_too_many_values(body):
        return _MISSING
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        mended = _without_lone_surrogates(body)
    try:
        return orjson.loads(mended) if mended != body else _MISSING
    except orjson.JSONDecodeError:
        return _MISSING


def _without_lone_surrogates(body: Body) -> bytes:
    """Replace the halves of surrogate pairs, which JavaScript cuts texts into, by U+FFFD."""
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], bytes(body))


def _has_too_many_values(body: Body) -> bool:
    count = _separators(body)
    if count > MAX_VALUES:
        # Most of them may be inside of strings, for instance in the log of a session.
        return count > _SURELY_TOO_MANY or _separators(_STRING.sub(b"", body)) > MAX_VALUES
    return False


def _separators(body: Body) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _message(status: int, parsed: Any) -> str:
    reason = parsed.get("error") or parsed.get("message") if isinstance(parsed, dict) else None
    if isinstance(reason, str) and not reason.lstrip().startswith("<"):
        text = " ".join(reason.split())
        if len(text) <= MAX_MESSAGE_CHARS:
            return text
        # Cut between two words: the scrubber of the log does not recognise half a secret.
        return text[: text.rfind(" ", 0, MAX_MESSAGE_CHARS) + 1] + "…"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _is_html(content_type: str, body: Body) -> bool:
    return "html" in content_type.lower() or body[:100].lstrip()[:1] == b"<"


def _description(content_type: str, body: Body) -> str:
    if _is_html(content_type, body):
        return "an HTML page"
    if _has_too_many_values(body):
        return f"more than {MAX_VALUES} values"
    if _parse(body) is not _MISSING:
        return "JSON that is not the API's"
    return f"{len(body)} bytes that are not JSON"
