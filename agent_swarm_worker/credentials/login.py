"""Authorize in a browser: build the address, open it, and parse the authorization code.

The code comes back by redirect or is pasted. No error repeats that text, which may hold the code.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qs, urlencode

import anyio

from agent_swarm_worker.credentials.settings import LoginSettings
from agent_swarm_worker.credentials.vendor import CLIENT_ID, SCOPE, known_code
from agent_swarm_worker.errors import CodeUnusable, LoginDenied, LoginError, LoginTimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

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
    """Start a new login.

    Args:
        issuer: base URL of the OAuth server.
        port: of this machine, for the redirect.
        random_bytes: source of the secrets.
    """
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
    """Return the code in pasted text: the redirect's address, its query, ``code#state`` or a code.

    Raises:
        CodeUnusable: it belongs to another login, or has no code.
        LoginDenied: the address reports that the login was denied.
    """
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
