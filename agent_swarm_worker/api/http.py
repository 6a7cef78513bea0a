"""One HTTP call to the swarm API, with a wall-clock limit and errors that mean something.

Nothing here knows an endpoint; nothing above here knows HTTP.

What an answer means: a value, or one of the errors of `errors.ApiError`.

Pure: status and bytes in, value or exception out, so that every odd answer can be tested.
"""

from __future__ import annotations

import re
import ssl
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import anyio
import httpx2
import orjson

from agent_swarm_worker.api.address import Address, fits_a_header, header
from agent_swarm_worker.api.wire.values import encode
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    RouteMissing,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.api.health import ApiHealth

MAX_ANSWER_BYTES = 32 * 1024 * 1024
LARGE_BYTES = 1024 * 1024
"""Answers beyond this are read one at a time, so that their memory does not add up."""
# Shorter than the five seconds after which common servers drop an idle connection: if they do so
# just when we write on it, the request is lost in an ambiguous way.
KEEP_ALIVE_S = 4.0
MAX_CONNECTIONS = 32
MAX_IDLE_CONNECTIONS = 8
"""The pool asks the system about every idle connection whenever a request comes or goes."""


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
            base_url: of the API, without a trailing slash.
            health: is told of every outcome.
            api_key: sent as a bearer token; no header at all when empty.
            agent_id: who asks; ``None`` for a tool that is no agent.
            runtime_instance_id: new in each process; servers with several runtimes per agent
                silently give no work without it (docs/api.md 2.5).
            timeout_s: wall-clock limit of a call that names none of its own.

        Raises:
            BadSetting: the URL or an identity cannot be used.
        """
        self.health = health
        self.agent_id = agent_id
        self.runtime_instance_id = runtime_instance_id
        key = header("API_KEY", api_key.strip(), secret=True)
        address = Address.parse(base_url, has_key=bool(key))
        self._base = address.url
        self.shown_url = address.shown
        """The base URL without what may be secret in it, for messages."""
        self._timeout_s = timeout_s
        self._large = anyio.Lock()
        self._identity = {}
        if agent_id:
            self._identity["X-Agent-ID"] = header("AGENT_ID", agent_id)
        if runtime_instance_id:
            self._identity["X-Runtime-Instance-ID"] = header("runtime id", runtime_instance_id)
        always = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if key:
            always["Authorization"] = f"Bearer {key}"
        self._client = httpx2.AsyncClient(
            headers=always,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),  # keeps none
            timeout=None,  # A limit per phase cannot bound the whole; `request` has one that does.
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_IDLE_CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            # A proxy named in the environment cannot reach this machine's own loopback.
            trust_env=not address.is_loopback,
            # Loading the system's certificates takes longer than most calls; without encryption
            # there is nothing to check with them.
            verify=address.is_encrypted or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Like `request`, for an answer that must be a JSON object; an empty one counts as ``{}``.

        Raises:
            ApiGarbled: it is something else.
        """
        answer = await self.request(method, path, **options)
        if answer is None:
            return {}
        if not isinstance(answer, dict):
            raise ApiGarbled(self.shown_url + path, "JSON, but not an object")
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
            body: sent as JSON; keys without a value are left out.
            content: sent instead of a body: JSON that is encoded already.
            params: the query; keys without a value are left out.
            headers: in addition; what cannot stand in a header is left out.
            timeout_s: wall-clock limit of the whole call, from resolving the name to the last
                byte, so that a server that drips cannot hang us.
            identified: send who we are.

        Raises:
            ApiUnreachable: no answer.
            ApiGarbled: an answer that is not the contract's.
            ApiRefused: a 4xx or 5xx status; `Unauthorized` and `RouteMissing` are special.
        """
        sent_headers = {k: v for k, v in (headers or {}).items() if v and fits_a_header(v)}
        if identified:
            sent_headers |= self._identity
        if body is not None:
            content = encode(body)
        if content is not None:
            sent_headers["Content-Type"] = "application/json"
        request = self._client.build_request(
            method,
            self._base + path,
            content=content,
            params={k: v for k, v in (params or {}).items() if v is not None} or None,
            headers=sent_headers,
        )
        exchange, url = _Exchange(self._client, request, self._large), self.shown_url + path
        try:
            async with exchange:
                await exchange.run(url, timeout_s or self._timeout_s)
                answer = read_answer(url, exchange.status, exchange.content_type, exchange.body)
        except ApiError as error:
            self._note(error)
            raise
        self.health.ok(is_document=answer is not None)
        return answer

    def _note(self, error: ApiError) -> None:
        """Tell `health`; a refusal is an answer, a gateway's refusal is not the API's."""
        if not isinstance(error, ApiRefused) or error.status in {502, 503, 504}:
            self.health.failed(error)
        elif error.status < 500:
            self.health.ok()
        else:
            self.health.stumbled(error)


class _Exchange:
    """One request and its answer, and how far it got; to be left when the answer is read."""

    def __init__(
        self, client: httpx2.AsyncClient, request: httpx2.Request, large: anyio.Lock
    ) -> None:
        self._client, self._request = client, request
        self._large, self._is_large = large, False
        self._request.extensions["trace"] = self._trace
        self._sent = False
        self.status = 0
        self.content_type = ""
        self.body = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.body = bytearray()
        # The request refers to this exchange through it: left there, the two would keep the
        # request's body in memory until the garbage collector finds them.
        self._request.extensions.pop("trace", None)
        if self._is_large:
            self._large.release()

    async def run(self, url: str, timeout_s: float) -> None:
        """Fill in status and body.

        Raises:
            ApiUnreachable: no answer; ambiguous from the first byte that was sent.
            ApiGarbled: the answer began and broke off, or is too long.
        """
        try:
            with anyio.fail_after(timeout_s):
                await self._exchange(url)
        except TimeoutError:
            why = f"no complete answer within {timeout_s:g} s"
            raise ApiUnreachable(url, why, ambiguous=self._sent) from None
        except httpx2.RequestError as error:
            if self.status:
                raise ApiGarbled(url, f"the answer broke off ({_why(error)})") from None
            raise ApiUnreachable(url, _why(error), ambiguous=self._sent) from None

    async def _exchange(self, url: str) -> None:
        response = await self._client.send(self._request, stream=True)
        try:
            self.status = response.status_code
            self.content_type = response.headers.get("content-type", "")
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
            if encoding not in {"", "identity"}:
                # We asked for plain bytes; a few compressed ones can stand for gigabytes.
                raise ApiGarbled(url, "an answer that is compressed")
            async for chunk in response.aiter_raw():
                self.body += chunk
                if len(self.body) > MAX_ANSWER_BYTES:
                    raise ApiGarbled(url, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
                if len(self.body) > LARGE_BYTES and not self._is_large:
                    await self._large.acquire()
                    self._is_large = True
        finally:
            await response.aclose()

    async def _trace(self, name: str, _: Mapping[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            self._sent = True


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


Body: TypeAlias = "bytes | bytearray"
MAX_MESSAGE_CHARS = 300
_MISSING = object()
MAX_VALUES = 500_000
"""In one answer: a byte of JSON can become fifty of memory, so bytes alone are no limit."""
_SURELY_TOO_MANY = 4 * MAX_VALUES
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_SUCH_ROUTE = re.compile(rb"\W*(404)?\W*not found\W*", re.IGNORECASE)
"""What the server says to an unknown route, in plain text; an unknown entity is JSON."""
_MAX_WORDS_BYTES = 200
"""Of such an answer; the expression would take forever for megabytes of blanks."""


def read_answer(url: str, status: int, content_type: str, body: Body) -> Any:
    """Return the parsed body of a success, ``None`` if it is empty.

    Args:
        url: what was asked, fit to be shown.
        status: of the answer.
        content_type: of the answer; only used to describe what cannot be read.
        body: the complete body.

    Raises:
        ApiGarbled: the answer is a redirect, HTML, or not JSON.
        ApiRefused: the status is 4xx or 5xx.
    """
    if 200 <= status < 300:
        return _value(url, content_type, body)
    if 300 <= status < 400:
        # Never followed: a write repeated elsewhere as a GET is worse than an error.
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
    if status == 405:
        return RouteMissing(url, status, message, value)
    if status == 404 and parsed is _MISSING:
        if len(body) <= _MAX_WORDS_BYTES and _NO_SUCH_ROUTE.fullmatch(body):
            return RouteMissing(url, status, message)
        # Proxies have words or pages of their own for a server that is just being replaced; to
        # take that for a missing route would mean to leave the feature out.
        return ApiGarbled(url, f"404 with {_description(content_type, body)}")
    return ApiRefused(url, status, message, value)


def _parse(body: Body) -> Any:
    if _has_too_many_values(body):
        return _MISSING
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _MISSING


def _has_too_many_values(body: Body) -> bool:
    count = _separators(body)
    if count > MAX_VALUES:
        # Most of them may stand inside of strings, for instance in the log of a session.
        count = (
            _SURELY_TOO_MANY if count > _SURELY_TOO_MANY else _separators(_STRING.sub(b"", body))
        )
    return count > MAX_VALUES


def _separators(body: Body) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _message(status: int, parsed: Any) -> str:
    said = parsed.get("error") or parsed.get("message") if isinstance(parsed, dict) else None
    if isinstance(said, str) and not said.lstrip().startswith("<"):
        text = " ".join(said.split())
        if len(text) <= MAX_MESSAGE_CHARS:
            return text
        # Between two words: half a key that it quotes would not be recognised where this is logged.
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
    return f"{len(body)} bytes that are not JSON"
