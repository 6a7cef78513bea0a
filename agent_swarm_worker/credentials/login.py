"""Authorize in a browser: build the address, open it, and receive the authorization code.

The code comes back by a redirect to loopback or is pasted. No error repeats that text.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qs, urlencode

import anyio
from anyio.abc import SocketAttribute

from agent_swarm_worker.credentials.vendor import CLIENT_ID, SCOPE, LoginSettings, known_code
from agent_swarm_worker.errors import CodeUnusable, LoginDenied, LoginError, LoginTimedOut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from anyio.abc import SocketStream
    from anyio.streams.stapled import MultiListener

REGISTERED_PORT = 1455
"""The only port of this machine that the vendor redirects to."""
CALLBACK_PATH = "/auth/callback"
MISMATCH = "State mismatch: this answer belongs to another login"
MISSING = "Missing authorization code"
BROWSER_START_S = 2.0
"""A browser command that has not failed within this time has succeeded."""

CodeSource: TypeAlias = "Callable[[], Awaitable[str | None]]"
"""Returns a code, or ``None`` once it cannot return one any more."""

_CODE = re.compile(r"[\x21-\x7e]{1,4096}")
_PASTE_MARKS = re.compile(r"\x1b\[20[01]~|[\x00-\x20\x7f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The parameters of one login."""

    issuer: str
    port: int
    state: str = field(repr=False)
    """Returned by the redirect, so that no other page can forge one."""
    verifier: str = field(repr=False)
    """Proves to the token endpoint that this process requested the code (PKCE, RFC 7636)."""

    @property
    def redirect_uri(self) -> str:
        """Address on this machine that the vendor redirects the browser to."""
        return f"http://localhost:{self.port}{CALLBACK_PATH}"

    @property
    def url(self) -> str:
        """Address for the browser."""
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            "state": self.state,
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "originator": "agent-swarm",
        }
        return f"{self.issuer}/oauth/authorize?{urlencode(query)}"


def begin(
    issuer: str, port: int, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> Authorization:
    """Start a new login at the OAuth server `issuer`; `port` is that of the redirect."""
    return Authorization(
        issuer=issuer,
        port=port,
        state=random_bytes(16).hex(),
        verifier=_base64url(random_bytes(32)),
    )


def challenge_of(verifier: str) -> str:
    """Return the S256 code challenge of a verifier."""
    return _base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


# --- authorization code
def code_of_query(query: str, state: str) -> str:
    """Return the code in the query of a redirect.

    Raises:
        CodeUnusable: it belongs to another login, or has no code.
        LoginDenied: the user or the vendor denied the login.
    """
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    given = fields.get("state", [""])[0]
    error = fields.get("error", [""])[0]
    # An error may lack the state; a forged one could only end the wait.
    if not _same(given, state) and (given or not error):
        raise CodeUnusable(MISMATCH)
    if error:
        raise _denied(error)
    return _checked(fields.get("code", [""])[0])


def code_of_paste(text: str, state: str) -> str:
    """Return the code in pasted text: a redirect's address or query, ``code#state`` or a code."""
    pasted = _PASTE_MARKS.sub("", text).strip("'\"<>")
    if "?" in pasted or "code=" in pasted or "error=" in pasted:
        query = pasted.partition("?")[2] if "?" in pasted else pasted.lstrip("#&")
        query = query.partition("#")[0] or query
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=50)
        if "state" in fields:
            return code_of_query(query, state)
        if fields.get("error", [""])[0]:
            raise _denied(fields["error"][0])
        return _checked(fields.get("code", [""])[0])
    if "://" in pasted:
        raise CodeUnusable(f"{MISSING}: the address has none in it")
    code, has_state, given = pasted.partition("#")
    if has_state and not _same(given, state):
        raise CodeUnusable(MISMATCH)
    return _checked(code)


def _same(given: str, state: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), state.encode())


def _denied(error: str) -> LoginDenied:
    if error == "access_denied":
        return LoginDenied("the login was declined in the browser (access_denied)")
    code = known_code(error)
    return LoginDenied(f"the vendor ended the login with an error{code and f' ({code})'}")


def _checked(code: str) -> str:
    if not _CODE.fullmatch(code):
        raise CodeUnusable(MISSING)
    return code


# --- browser
def browser_command(
    url: str, env: Mapping[str, str], platform: str = sys.platform
) -> tuple[str, ...]:
    """Return the command that opens `url`, without a shell; empty without a display."""
    if platform == "darwin":
        return ("open", url)
    if platform in {"win32", "cygwin"}:
        # As `start` does, but without the command interpreter, which would split the URL at &.
        return ("rundll32", "url.dll,FileProtocolHandler", url)
    return ("xdg-open", url) if LoginSettings.load(env).has_screen else ()


async def open_browser(url: str, env: Mapping[str, str]) -> str:
    """Open `url`; return why that failed, empty if it succeeded."""
    command = browser_command(url, env)
    if not command:
        return "there is no display"
    try:
        # In a session of its own: a text browser would take over the terminal, Ctrl-C end it.
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror or error}"
    with anyio.move_on_after(BROWSER_START_S):
        code = await process.wait()
        return f"{command[0]} exited with code {code}" if code else ""
    return ""


# --- waiting
async def first_code(sources: Sequence[CodeSource], *, timeout_s: float) -> str:
    """Return the first code of several sources and cancel the others.

    Raises:
        LoginTimedOut: no source returned one within `timeout_s`.
        CodeUnusable: no source can return one any more.
        LoginError: raised by a source; ends the wait.
    """
    found: list[str] = []
    failed: list[LoginError] = []

    async def ask(source: CodeSource, scope: anyio.CancelScope) -> None:
        try:
            code = await source()
        except LoginError as error:
            failed.append(error)
            scope.cancel()
            return
        if code:
            found.append(code)
            scope.cancel()

    with anyio.move_on_after(timeout_s) as limit:
        async with anyio.create_task_group() as group:
            for source in sources:
                group.start_soon(ask, source, group.cancel_scope)
    if found:
        return found[0]
    if failed:
        raise failed[0]
    if limit.cancelled_caught:
        raise LoginTimedOut(f"the login was not completed within {timeout_s:g} s")
    raise CodeUnusable("nobody can answer: there is no terminal to paste into, and no browser")


# --- redirect
MAX_REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT_S = 10.0
ADDRESSES = ("127.0.0.1", "::1")
"""Browsers resolve ``localhost`` to either."""

_PAGE = """<!doctype html><meta charset="utf-8"><title>swarm-worker</title>
<body style="font: 1.1em system-ui; margin: 4em auto; max-width: 32em"><h1>{title}</h1><p>{text}"""
_PAGES = {
    200: ("Login received", "You can close this page: swarm-worker goes on in the terminal."),
    400: ("This login cannot be completed", "{why}."),
    403: ("Login declined", "You can close this page; run the command again to retry."),
    404: ("Not found", "There is nothing here."),
    405: ("Method not allowed", "Only the vendor's redirect is answered."),
}


class Callback:
    """Waits for the redirect with the right state. Plain HTTP, one request per connection.

    Browsers open connections in advance, and other pages may send requests too, so an invalid
    request does not end the wait.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        self._is_done = anyio.Event()
        self._code = ""
        self._error: LoginError | None = None

    async def code(self) -> str:
        """Wait for the authorization code; raises `LoginDenied` if the redirect reports that."""
        await self._is_done.wait()
        if self._error is not None:
            raise self._error
        return self._code

    async def serve(self, stream: SocketStream) -> None:
        """Answer the request of one connection."""
        async with stream:
            try:
                with anyio.fail_after(REQUEST_TIMEOUT_S):
                    head = await _read_head(stream)
                    status, why = self._handle(head)
                    await stream.send(_response(status, why, with_body=head[:4] != b"HEAD"))
                    await stream.send_eof()
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                return  # TimeoutError included: the client sent nothing in time
            finally:
                if self._code or self._error:
                    self._is_done.set()

    def _handle(self, head: bytes) -> tuple[int, str]:
        """Return the status and, for 400, the reason."""
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[1].startswith("/"):
            return 400, "This is no request"
        path, _, query = parts[1].partition("?")
        if path != CALLBACK_PATH:
            return 404, ""
        if parts[0] != "GET":
            return 405, ""
        if self._code or self._error:
            return 200, ""  # the page was reloaded
        try:
            self._code = code_of_query(query, self._state)
        except LoginDenied as error:
            self._error = error
            return 403, ""
        except CodeUnusable as error:
            return 400, str(error)
        except ValueError:
            return 400, "This is no answer of the vendor's"
        return 200, ""


@asynccontextmanager
async def listening(port: int, state: str) -> AsyncIterator[tuple[Callback, int]]:
    """Listen on loopback while the block runs; an `OSError` means that the port is taken."""
    listeners = await _bind(port)
    callback = Callback(state)
    try:
        async with anyio.create_task_group() as group:
            for listener in listeners:
                group.start_soon(listener.serve, callback.serve)
            yield callback, listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


async def _bind(port: int) -> Sequence[MultiListener[SocketStream]]:
    first = await anyio.create_tcp_listener(local_host=ADDRESSES[0], local_port=port)
    bound = first.extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
    try:
        second = await anyio.create_tcp_listener(local_host=ADDRESSES[1], local_port=bound)
    except OSError:
        return [first]  # without IPv6, or the port is taken there: most browsers use IPv4
    return [first, second]


async def _read_head(stream: SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < MAX_REQUEST_BYTES:
        head += await stream.receive(4096)
    return head


def _response(status: int, why: str, *, with_body: bool) -> bytes:
    title, text = _PAGES[status]
    body = _PAGE.format(title=title, text=text.format(why=why)).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\n"
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Referrer-Policy: no-referrer\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
