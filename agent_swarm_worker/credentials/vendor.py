"""Exchange authorization codes and refresh tokens for tokens at the vendor's OAuth server.

Errors contain neither a response body nor a token: the vendor's message may repeat the token.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.api.values import Row
from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.errors import BadSetting, TokenRefused, VendorFailed
from agent_swarm_worker.network import Address, http_client
from agent_swarm_worker.settings import SettingsModel, live, operator_only
from agent_swarm_worker.settings.base import Stripped  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.clock import Clock

ISSUER = "https://auth.openai.com"
ISSUER_VARIABLE = "CODEX_OAUTH_ISSUER"
CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
SCOPE = "openid profile email offline_access"
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 1024 * 1024

_KNOWN_CODES = frozenset(
    {
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "rate_limit_exceeded",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
        "server_error",
        "temporarily_unavailable",
        "token_expired",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


class LoginSettings(SettingsModel):
    """Variables of login commands and of sessions' logins."""

    # --- logins
    issuer: Stripped = operator_only("CODEX_OAUTH_ISSUER", default="")
    """Base URL of the OAuth server that makes and renews the logins, if it is not the vendor's;
    HTTPS, or loopback."""
    display: str = live("DISPLAY", default="", is_native=True)
    """With this, ``WAYLAND_DISPLAY`` or ``BROWSER``, ``swarm-worker login`` opens a browser."""
    wayland_display: str = live("WAYLAND_DISPLAY", default="", is_native=True)
    """See ``DISPLAY``."""
    browser: str = live("BROWSER", default="", is_native=True)
    """See ``DISPLAY``."""
    codex_oauth: str = live("CODEX_OAUTH", default="", is_native=True, is_shared=True)
    openai_api_key: str = live("OPENAI_API_KEY", default="", is_native=True, is_shared=True)
    codex_home: Stripped = operator_only("CODEX_HOME", default="", is_native=True, is_shared=True)
    home: str = operator_only("HOME", default="/", is_native=True, is_shared=True)

    @property
    def has_screen(self) -> bool:
        """Whether there is a display for a browser."""
        return bool(self.display or self.wayland_display or self.browser)

    @property
    def auth_file(self) -> Path:
        """The codex program's own login."""
        folder = Path(self.codex_home) if self.codex_home else Path(self.home) / ".codex"
        return folder / "auth.json"


def issuer_of(env: Mapping[str, str]) -> str:
    """Return the base URL of the OAuth server; a `BadSetting` if tokens may not be sent to it."""
    named = LoginSettings.load(env).issuer.rstrip("/")
    if not named:
        return ISSUER
    address = Address.parse(named, has_key=True, name=ISSUER_VARIABLE)
    if not (address.is_encrypted or address.is_loopback):
        raise BadSetting(ISSUER_VARIABLE, address.shown, "tokens are only sent over HTTPS")
    return address.url


def known_code(value: object) -> str:
    """Return `value` if it is an error code of the protocol, else an empty string."""
    return value if isinstance(value, str) and value in _KNOWN_CODES else ""


class Vendor:
    """The token endpoint."""

    def __init__(self, issuer: str, *, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._url = f"{issuer}/oauth/token"
        self._clock, self._timeout_s = clock, timeout_s

    async def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> CodexCredential:
        """Exchange an authorization code.

        Raises:
            TokenRefused: the vendor refuses it.
            VendorFailed: no usable response.
            CredentialUnreadable: the token does not name an account.
        """
        form = {
            "grant_type": "authorization_code",
            "client_id": CLIENT_ID,
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        answer = await self._post("the authorization code", form)
        return self._credential(answer, refresh="", account_id="")

    async def refresh(self, credential: CodexCredential) -> CodexCredential:
        """Spend a refresh token.

        Raises:
            TokenRefused: it was spent before, or the login was revoked.
            VendorFailed: no usable response; the token may be spent all the same.
        """
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credential.refresh,
            "client_id": CLIENT_ID,
        }
        answer = await self._post("refresh_rejected: the refresh token", form)
        return self._credential(
            answer, refresh=credential.refresh, account_id=credential.account_id
        )

    def _credential(
        self, answer: Mapping[str, Any], *, refresh: str, account_id: str
    ) -> CodexCredential:
        access = answer.get("access_token")
        refresh = answer.get("refresh_token") or refresh
        lifetime_s = Row(answer).number("expires_in") or 0.0
        is_usable = {
            "access_token": isinstance(access, str) and bool(access),
            "refresh_token": isinstance(refresh, str) and bool(refresh),
            "expires_in": 0 < lifetime_s < 1e9,
        }
        if lacking := [name for name, usable in is_usable.items() if not usable]:
            raise VendorFailed(f"{self._url} answered without a usable {', '.join(lacking)}")
        expires_ms = epoch_ms(self._clock.now()) + int(lifetime_s * 1000)
        return CodexCredential.from_tokens(
            str(access), str(refresh), expires_ms=expires_ms, account_id=account_id
        )

    async def _post(self, what: str, form: Mapping[str, str]) -> dict[str, Any]:
        import httpx2  # noqa: PLC0415 - most workers renew no login

        try:
            with anyio.fail_after(self._timeout_s):
                status, body = await self._exchange(form)
        except TimeoutError:
            why = f"no complete answer within {self._timeout_s:g} s"
            raise VendorFailed(f"no answer from {self._url}: {why}") from None
        except httpx2.HTTPError as error:
            raise VendorFailed(f"no answer from {self._url}: {type(error).__name__}") from None
        answer = _json_object(body)
        if status in {408, 429} or not 200 <= status < 500 or 300 <= status < 400:
            raise VendorFailed(f"{self._url} answered {status}")
        if answer is None:
            # The page of a gateway says nothing about the token, whatever its status.
            raise VendorFailed(f"{self._url} answered {status} with something that is not JSON")
        if status >= 400:
            raise TokenRefused(what, status, _error_code(answer))
        return answer

    async def _exchange(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        async with (
            http_client(
                self._url,
                name=ISSUER_VARIABLE,
                timeout=None,  # `_post` limits the whole exchange
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            ) as client,
            client.stream("POST", self._url, data=dict(form)) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise VendorFailed(f"{self._url} answered more than {MAX_ANSWER_BYTES} bytes")
            return response.status_code, bytes(body)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _error_code(answer: Mapping[str, Any] | None) -> str:
    error = (answer or {}).get("error")
    return known_code(error.get("code")) if isinstance(error, dict) else known_code(error)
