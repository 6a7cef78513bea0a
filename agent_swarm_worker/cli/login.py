"""``swarm-worker login`` and ``logout``: add, list and remove logins of the swarm's login pool.

Standard input is read without blocking, so that every read can be cancelled; the terminal stays in
line mode, so that editing and Ctrl-C work.
"""

from __future__ import annotations

import argparse
import os
import sys
import termios
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import connected, run_until_signal
from agent_swarm_worker.cli.output import notice, print_line, print_table, write
from agent_swarm_worker.clock import SystemClock, wire_time
from agent_swarm_worker.credentials.codex import login_in_file
from agent_swarm_worker.credentials.credential import CodexCredential, masked
from agent_swarm_worker.credentials.login import (
    MISSING,
    REGISTERED_PORT,
    begin,
    code_of_paste,
    first_code,
    listening,
    open_browser,
)
from agent_swarm_worker.credentials.store import (
    LAST_SLOT,
    STANDALONE,
    LoginPool,
    entry_key,
    lowest_free_number,
)
from agent_swarm_worker.credentials.vendor import LoginSettings, Vendor, issuer_of
from agent_swarm_worker.errors import CodeUnusable, CredentialUnreadable, UsageError
from agent_swarm_worker.settings import Settings, process_env

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.credentials.login import Authorization, Callback, CodeSource
    from agent_swarm_worker.credentials.store import PoolEntry

DEFAULT_TIMEOUT_S = 300.0
MAX_LINE_BYTES = 64 * 1024
_PASTE_AGAIN = "Paste the authorization code (or the full redirect URL):"
_LOGIN_ELSEWHERE = {
    "claude": "claude needs no login here: run `claude setup-token`, and give what it prints to"
    " the worker as CLAUDE_CODE_OAUTH_TOKEN"
}


class _Once(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("harness", nargs="?", default="codex", help="default: codex")
    parser.add_argument(
        "--slot", type=_slot, action=_Once, help=f"which of the logins, 0 to {LAST_SLOT}"
    )
    parser.add_argument("--api-url", help="of the swarm; default: MCP_BASE_URL")
    parser.add_argument("--api-key", help="of the swarm; better: API_KEY, or asked for if unset")
    if parser.prog.endswith("logout"):
        parser.description = "Remove a login from the swarm; workers stop using it."
        parser.add_argument("--all", action="store_true", help="remove every slot")
        return
    parser.description = (
        "Log in with ChatGPT in the browser and keep the login in the swarm, for every worker"
        " whose harness is codex."
    )
    parser.add_argument("--replace", action="store_true", help="if the slot is taken")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument(
        "--port",
        type=_port,
        default=REGISTERED_PORT,
        help=f"to listen on; default: {REGISTERED_PORT}, the only one the vendor sends people to",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"how long to wait for the browser; default: {DEFAULT_TIMEOUT_S:g}",
    )
    parser.add_argument("--status", action="store_true", help="show the logins there are")


def run(args: argparse.Namespace) -> int:
    """Log in, log out, or show the logins."""
    logs.configure(level="error")
    if args.harness != "codex":
        raise UsageError(
            _LOGIN_ELSEWHERE.get(
                args.harness, f"no login is known for {args.harness!r}; only for codex"
            )
        )
    return run_until_signal(_run, args)


async def _run(args: argparse.Namespace) -> int:
    settings = await _settings(args)
    async with connected(settings) as client:
        if args.command == "logout":
            return await _log_out(args, client)
        if args.status:
            return await show_status(client, process_env())
        return await _log_in(args, client)


async def _settings(args: argparse.Namespace) -> Settings:
    env = dict(process_env())
    if args.api_url is not None:
        env["MCP_BASE_URL"] = args.api_url
    if args.api_key is not None:
        env["AGENT_SWARM_API_KEY"] = args.api_key
    settings = Settings.load(env)
    if settings.api_key or args.api_key is not None or not is_terminal():
        return settings
    key = await ask_hidden(
        f"API key of the swarm at {settings.api_url} (not shown; Enter for none): "
    )
    return settings.model_copy(update={"agent_swarm_api_key": key})


# --- logging in
async def _log_in(args: argparse.Namespace, client: SwarmClient) -> int:
    pool = LoginPool(client.config)
    # Read first: an API that refuses the key should do so before the user opens a browser.
    entries = await pool.all()
    number, replaced = _target(args, entries)
    print_line(f"Logging in with ChatGPT for slot {number} of {client.http.shown_url}")
    credential = await obtain_credential(
        port=args.port, opens_browser=not args.no_browser, timeout_s=args.timeout, env=process_env()
    )
    row = replaced.row if replaced else None
    await pool.put(number, credential, instead_of=row)
    print_line(
        f"Logged in: account {masked(credential.account_id)}, good until"
        f" {wire_time(datetime.fromtimestamp(credential.expires_ms / 1000, UTC))},"
        f" stored in slot {number} ({row.key if row else entry_key(number)})"
    )
    same = [
        str(it.number)
        for it in entries
        if it.number != number
        and it.credential
        and it.credential.account_id == credential.account_id
    ]
    if same:
        notice(f"This account is in slot {', '.join(same)} as well: they share its limits.")
    return 0


def _target(args: argparse.Namespace, entries: Sequence[PoolEntry]) -> tuple[int, PoolEntry | None]:
    taken = {it.number: it for it in reversed(entries)}
    if args.slot is None:
        free = lowest_free_number(taken)
        if free is None:
            raise UsageError(
                f"all slots from 0 to {LAST_SLOT} are taken; `swarm-worker logout --slot N` frees"
                " one, and --slot N --replace renews one"
            )
        return free, None
    entry = taken.get(args.slot)
    if entry is not None and not args.replace:
        whose = masked(entry.credential.account_id) if entry.credential else "unreadable"
        raise UsageError(
            f"slot {args.slot} is taken (account {whose}); --replace puts the new login there"
        )
    return args.slot, entry


# --- logging out
async def _log_out(args: argparse.Namespace, client: SwarmClient) -> int:
    pool = LoginPool(client.config)
    if args.all and args.slot is not None:
        raise UsageError("--slot and --all exclude each other")
    present = sorted({it.number for it in await pool.all()})
    wanted = present if args.slot is None else [args.slot]
    if not args.all and args.slot is None and len(present) > 1:
        shown = ", ".join(map(str, present))
        raise UsageError(f"there are logins in the slots {shown}: say --slot N or --all")
    removed = [number for number in wanted if number in present and await pool.delete(number)]
    for number in removed:
        print_line(f"Logged out: slot {number} is empty now")
    if not removed:
        where = f"slot {args.slot}" if args.slot is not None else "any slot"
        print_line(f"There is no login in {where}")
    return 0 if removed else 1


# --- types of arguments
def _slot(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= LAST_SLOT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a slot from 0 to {LAST_SLOT}")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, at most a day")
    return seconds


# --- authorization
async def obtain_credential(
    *, port: int, opens_browser: bool, timeout_s: float, env: Mapping[str, str]
) -> CodexCredential:
    """Print the address, open the browser, wait for the code and exchange it.

    Args:
        port: of this machine, for the redirect; 0 for any free one.
        opens_browser: open a browser rather than only print the address.
        timeout_s: for the user.
        env: of the browser, and of the settings.
    """
    issuer = issuer_of(env)
    vendor = Vendor(issuer, clock=SystemClock())
    async with AsyncExitStack() as stack:
        authorization = begin(issuer, port)
        callback: Callback | None = None
        try:
            callback, bound = await stack.enter_async_context(listening(port, authorization.state))
        except OSError as error:
            why = error.strerror or str(error)
            notice(f"Port {port} of this machine cannot be listened on ({why}).")
            notice(_without_listener(port))
        else:
            authorization = replace(authorization, port=bound)
        code = await _code(authorization, callback, opens_browser, timeout_s, env)
        return await vendor.redeem(
            code, verifier=authorization.verifier, redirect_uri=authorization.redirect_uri
        )


def _without_listener(port: int) -> str:
    stays = "The vendor sends people to no other one, so it stays in the address. "
    return (
        f"{stays if port == REGISTERED_PORT else ''}When the browser shows an error, or somebody"
        " else's page, copy its address and paste it here."
    )


async def _code(
    authorization: Authorization,
    callback: Callback | None,
    opens_browser: bool,
    timeout_s: float,
    env: Mapping[str, str],
) -> str:
    print_line(f"\nOpen this address in a browser:\n\n  {authorization.url}\n")
    browser = _Browser()

    async def opening() -> None:
        why = await open_browser(authorization.url, env) if opens_browser else ""
        browser.is_open = opens_browser and not why
        if why:
            notice(f"(Could not open a browser by itself: {why})")
        browser.was_tried.set()

    async def pasted() -> str | None:
        print_line("Or paste the authorization code, or the address the browser ended at:")
        code = await _pasted_code(authorization.state)
        if code is None:
            await browser.was_tried.wait()
            if callback is None or not browser.is_open:
                raise CodeUnusable(_why_no_code(callback is not None))
        return code

    sources: list[CodeSource] = [opening, pasted]
    if callback is not None:
        sources.append(callback.code)
    return await first_code(sources, timeout_s=timeout_s)


@dataclass(slots=True)
class _Browser:
    is_open: bool = False
    was_tried: anyio.Event = field(default_factory=anyio.Event)


def _why_no_code(can_come_back: bool) -> str:
    lacking = "no browser could be opened" if can_come_back else "the browser cannot come back"
    return (
        f"nobody can answer: there is no terminal to paste into, and {lacking};"
        " run this in a terminal (docker exec -it)"
    )


async def _pasted_code(state: str) -> str | None:
    """Return the code of a pasted line or address; ``None`` at the end of standard input."""
    lines = Lines()
    for is_last in (False, True):
        line = await lines.next()
        if line is None:
            return None
        if line.strip():
            return code_of_paste(line, state)
        if not is_last:
            print_line(_PASTE_AGAIN)
    raise CodeUnusable(MISSING)


# --- status
@dataclass(frozen=True, slots=True)
class _Login:
    slot: str
    credential: CodexCredential | None
    source: str


async def show_status(client: SwarmClient, env: Mapping[str, str]) -> int:
    """Print a table of the logins; return 0 if one of them is usable, else 1."""
    stored = await LoginPool(client.config).all()
    logins = [_Login(str(it.number), it.credential, f"swarm: {it.row.key}") for it in stored]
    logins += _own(env)
    if not logins:
        print_line("There is no login; `swarm-worker login` makes one.")
        return 1
    limited = await client.keys.limited(STANDALONE) or {}
    now = datetime.now(UTC)
    print_table(
        ["SLOT", "ACCOUNT", "EXPIRES IN", "LIMITED UNTIL", "SOURCE"],
        [_cells(login, limited, now) for login in logins],
    )
    return 0 if any(_is_usable(login, now) for login in logins) else 1


def _own(env: Mapping[str, str]) -> Iterator[_Login]:
    """Yield the logins of this machine, which count if the pool is empty."""
    if text := LoginSettings.load(env).codex_oauth.strip():
        try:
            yield _Login("-", CodexCredential.parse(text), f"environment: {STANDALONE}")
        except CredentialUnreadable:
            yield _Login("-", None, f"environment: {STANDALONE}")
    path = LoginSettings.load(env).auth_file
    if (found := login_in_file(path)) is not None:
        yield _Login("-", found, f"file: {path}")


def _cells(login: _Login, limited: Mapping[str, str], now: datetime) -> list[str]:
    found = login.credential
    if found is None:
        return [login.slot, "unreadable", "-", "-", login.source]
    return [
        login.slot,
        masked(found.account_id),
        _left(found.expires_ms, now),
        limited.get(found.suffix) or "-",
        login.source,
    ]


def _is_usable(login: _Login, now: datetime) -> bool:
    found = login.credential
    return found is not None and (bool(found.refresh) or found.expires_ms / 1000 > now.timestamp())


def _left(expires_ms: int, now: datetime) -> str:
    left_s = int(expires_ms / 1000 - now.timestamp())
    if not expires_ms:
        return "unknown"
    if left_s <= 0:
        return "expired"
    days, hours, minutes = left_s // 86_400, left_s // 3600 % 24, left_s // 60 % 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


# --- standard input
def is_terminal() -> bool:
    """Return whether input and output are a terminal."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout))


class Lines:
    """The lines of standard input."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._rest = b""
        self._is_over = False

    async def next(self) -> str | None:
        """Return the next line without its end; ``None`` at the end of input."""
        while b"\n" not in self._rest and not self._is_over:
            try:
                await anyio.wait_readable(self._fd)
            except OSError:
                await anyio.lowlevel.checkpoint()  # a regular file is always readable
            try:
                chunk = os.read(self._fd, 4096)
            except OSError:
                chunk = b""  # the terminal was closed
            self._rest += chunk
            self._is_over = not chunk or len(self._rest) > MAX_LINE_BYTES
        line, found, self._rest = self._rest.partition(b"\n")
        if not found and not line:
            return None
        return line.decode("utf-8", "replace").rstrip("\r")


async def ask_hidden(question: str) -> str:
    """Ask on the terminal without echo; return the line, empty at the end of input."""
    with _without_echo(sys.stdin.fileno()):
        write(question)
        answer = await Lines().next()
    write("\n")
    return (answer or "").strip()


@contextmanager
def _without_echo(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    hidden = termios.tcgetattr(fd)
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSAFLUSH, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
