"""The question put to the vendor: an address for the browser, and the secrets that guard it.

What comes back from the browser, by itself or pasted: a code, or the reason why there is none.

Pure: text in, code or exception out. No message repeats what came, which may hold the code.

Opening a browser, on each platform with its own program and never through a shell.

Waiting for one answer from several sources at once, for a limited time.
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
"""The only port of this machine that the vendor sends people back to."""
CALLBACK_PATH = "/auth/callback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One login that was begun."""

    issuer: str
    port: int
    state: str = field(repr=False)
    """Comes back with the answer, so that no other page can answer."""
    verifier: str = field(repr=False)
    """Proves to the token endpoint that the code was asked for by us (PKCE, RFC 7636)."""

    @property
    def redirect_uri(self) -> str:
        """Where on this machine the vendor sends the browser."""
        return f"http://localhost:{self.port}{CALLBACK_PATH}"

    @property
    def url(self) -> str:
        """For the browser."""
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
    """Make the address of a new login.

    Args:
        issuer: base URL of the OAuth server.
        port: of this machine, where the browser is sent afterwards.
        random_bytes: source of the secrets.
    """
    return Authorization(
        issuer=issuer,
        port=port,
        state=random_bytes(16).hex(),
        verifier=_base64url(random_bytes(32)),
    )


def challenge_of(verifier: str) -> str:
    """Return what the browser carries in the verifier's place."""
    return _base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


MISMATCH = "State mismatch: this answer belongs to another login"
MISSING = "Missing authorization code"

_CODE = re.compile(r"[\x21-\x7e]{1,4096}")
_PASTE_MARKS = re.compile(r"\x1b\[20[01]~|[\x00-\x20\x7f]+")


def code_of_query(query: str, state: str) -> str:
    """Return the code that the vendor sent the browser back with.

    Raises:
        CodeUnusable: it answers another question, or has no code.
        LoginDenied: the person or the vendor said no.
    """
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    given = fields.get("state", [""])[0]
    error = fields.get("error", [""])[0]
    # An error may come without the state; the worst that a stranger's could do is to end the wait.
    if not _same(given, state) and (given or not error):
        raise CodeUnusable(MISMATCH)
    if error:
        raise _denied(error)
    return _checked(fields.get("code", [""])[0])


def code_of_paste(text: str, state: str) -> str:
    """Return the code of what a person pasted.

    Understood are the whole address the browser ended at, its query, ``code#state``, and the code.

    Raises:
        CodeUnusable: it answers another question, or has no code.
        LoginDenied: the address says that there will be none.
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


SETTLE_S = 2.0
"""An opener that has not failed by then has opened something, and may stay as long as that."""


def opener(url: str, env: Mapping[str, str], platform: str = sys.platform) -> tuple[str, ...]:
    """Return the words that open `url`; none where there is no screen to open it on."""
    if platform == "darwin":
        return ("open", url)
    if platform in {"win32", "cygwin"}:
        # What `start` does, without the command interpreter, to which the URL's & are commands.
        return ("rundll32", "url.dll,FileProtocolHandler", url)
    return ("xdg-open", url) if LoginSettings.load(env).has_screen else ()


async def open_browser(url: str, env: Mapping[str, str]) -> str:
    """Open `url`; return why it could not be done, nothing if it was."""
    words = opener(url, env)
    if not words:
        return "there is no display"
    try:
        # Away from our terminal: a text browser would take it over, and Ctrl-C end it.
        process = await anyio.open_process(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0]}: {error.strerror or error}"
    with anyio.move_on_after(SETTLE_S):
        code = await process.wait()
        return f"{words[0]} exited with code {code}" if code else ""
    return ""


Source: TypeAlias = "Callable[[], Awaitable[str | None]]"


async def first_code(sources: Sequence[Source], *, timeout_s: float) -> str:
    """Return the first code that any source has; the others are stopped.

    Args:
        sources: each returns a code, or ``None`` once it can have none any more.
        timeout_s: for all of them together.

    Raises:
        LoginTimedOut: none had one in time.
        CodeUnusable: no source can have one any more.
        LoginError: what a source raised; it ends the wait.
    """
    found: list[str] = []
    failed: list[LoginError] = []

    async def ask(source: Source, scope: anyio.CancelScope) -> None:
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
