"""A fake OAuth server over real HTTP: codes and refresh tokens are valid once."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

ACCOUNT = "acct-0f3c9d2e-77aa-4c11-9b1e-000000000001"
USER = "user-of-the-tests-QWERT"
DAY_S = 24 * 3600


def jwt(account: str | None = ACCOUNT, *, user: str | None = USER, serial: int = 0) -> str:
    """Return an unsigned token with the vendor's claims."""
    own = {"chatgpt_account_id": account, "chatgpt_user_id": user}
    claims = {"https://api.openai.com/auth": {k: v for k, v in own.items() if v}, "jti": serial}
    parts = ({"alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return b".".join([*(part.rstrip(b"=") for part in encoded), b"c2lnbmF0dXJl"]).decode()


def stored(
    serial: int = 0, *, left_s: float = 5 * DAY_S, refresh: str | None = None, **more: Any
) -> str:
    """Return a credential as the swarm stores it."""
    value = {
        "access": jwt(serial=serial),
        "refresh": f"refresh-token-of-the-tests-{serial}" if refresh is None else refresh,
        "expires": int((time.time() + left_s) * 1000),
        "accountId": ACCOUNT,
    }
    return json.dumps({**value, **more})


class OAuthServer:
    """Answers like the vendor, unless it is told how to misbehave."""

    def __init__(self) -> None:
        self.account: str | None = ACCOUNT
        self.misbehave = ""
        """``html``, ``500``, ``403-html``, ``echo``, ``hang``, ``lacking``, ``redirect``, …"""
        self.denies = False
        self.delay_s = 0.0
        self.valid_refresh: set[str] = set()
        self.exchanges: list[dict[str, str]] = []
        """Every form that came to the token endpoint."""
        self.issued: list[str] = []
        """Every secret that was handed out."""
        self.asked: dict[str, str] = {}
        """The last query of the authorization endpoint."""
        self._codes: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.released = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # --- what a person does in the browser
    def consent(self, query: dict[str, str]) -> str:
        """Return where the browser is sent."""
        self.asked = query
        if self.denies:
            answer = {"error": "access_denied", "state": query["state"]}
        else:
            code = f"ac-code-{len(self._codes)}-{query['state'][:6]}"
            self._codes[code] = query
            self.issued.append(code)
            answer = {"code": code, "state": query["state"]}
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def consent_url(self, authorize_url: str) -> str:
        """Do what a browser would with the address, up to the redirect."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(authorize_url).query).items()}
        return self.consent(query)

    # --- the token endpoint
    def token(self, form: dict[str, str]) -> tuple[int, str, str]:
        with self._lock:
            self.exchanges.append(form)
        if self.delay_s:
            time.sleep(self.delay_s)
        secret = form.get("refresh_token") or form.get("code") or ""
        match self.misbehave:
            case "html":
                return 200, "text/html", f"<html>{secret}</html>"
            case "403-html":
                return 403, "text/html", f"<html>{secret}</html>"
            case "500":
                return 500, "application/json", json.dumps({"error": secret})
            case "echo":
                said = {"error": secret, "error_description": f"bad {form}"}
                return 400, "application/json", json.dumps(said)
            case "redirect":
                return 302, "text/plain", ""
            case "hang":
                self.released.wait(20)
                return 500, "text/plain", ""
        with self._lock:
            return self._issue(form)

    def _issue(self, form: dict[str, str]) -> tuple[int, str, str]:
        if form.get("client_id") != "app_EMoamEEZ73f0CkXaXp7hrann":
            return _refusal("invalid_client")
        if form.get("grant_type") == "refresh_token":
            if form["refresh_token"] not in self.valid_refresh:
                self.valid_refresh.clear()  # a replay: the whole family is revoked
                return _refusal("refresh_token_reused")
            self.valid_refresh.discard(form["refresh_token"])
        else:
            asked = self._codes.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if asked is None or asked["code_challenge"] != proof:
                return _refusal("invalid_grant")
            if asked["redirect_uri"] != form.get("redirect_uri"):
                return _refusal("invalid_grant")
        serial = len(self.issued) + 1000
        answer: dict[str, Any] = {
            "access_token": jwt(self.account, serial=serial),
            "refresh_token": f"refresh-token-issued-{serial}",
            "expires_in": 10 * DAY_S,
        }
        self.issued += [answer["access_token"], answer["refresh_token"]]
        self.valid_refresh.add(answer["refresh_token"])
        if self.misbehave == "lacking":
            del answer["refresh_token"], answer["expires_in"]
        return 200, "application/json", json.dumps(answer)

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler below
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(parts.query).items()}
                self.send_response(302 if parts.path == "/oauth/authorize" else 404)
                if parts.path == "/oauth/authorize":
                    self.send_header("Location", server.consent(query))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                form = {k: v[0] for k, v in parse_qs(body.decode()).items()}
                status, kind, text = server.token(form)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(text)))
                    if status == 302:
                        self.send_header("Location", f"{server.url}/elsewhere")
                    self.end_headers()
                    self.wfile.write(text.encode())
                except OSError:
                    pass  # the caller did not wait

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def _refusal(code: str) -> tuple[int, str, str]:
    return 400, "application/json", json.dumps({"error": {"code": code, "message": "no"}})
