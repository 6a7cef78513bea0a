"""``swarm-worker login`` and ``logout``: logins of a vendor that the whole swarm shares."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import connected
from agent_swarm_worker.cli.login_flow import obtain_credential
from agent_swarm_worker.cli.login_status import show_status
from agent_swarm_worker.cli.output import notice, print_line
from agent_swarm_worker.cli.running import run_until_signal
from agent_swarm_worker.cli.terminal import ask_hidden, is_terminal
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import UsageError
from agent_swarm_worker.login.authorization import REGISTERED_PORT
from agent_swarm_worker.login.credential import masked
from agent_swarm_worker.login.slots import LAST_SLOT, lowest_free, slot_key
from agent_swarm_worker.login.store import SlotStore
from agent_swarm_worker.settings import Settings, process_env

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.login.credential import CodexCredential
    from agent_swarm_worker.login.store import StoredSlot
    from agent_swarm_worker.swarm.client import SwarmClient

DEFAULT_TIMEOUT_S = 300.0
_ELSEWHERE = {
    "claude": "claude needs no login here: run `claude setup-token`, and give what it prints to"
    " the worker as CLAUDE_CODE_OAUTH_TOKEN"
}


class _Once(argparse.Action):
    """An option whose second mention would silently win over the first."""

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
    """Declare the options."""
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
    """Log in, log out, or show what there is."""
    logs.configure(level="error")
    if args.harness != "codex":
        raise UsageError(
            _ELSEWHERE.get(args.harness, f"no login is known for {args.harness!r}; only for codex")
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
    """The settings in force; a person who gave no key is asked for it."""
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
@dataclass(frozen=True, slots=True)
class _Place:
    """Where the login goes."""

    slot: int
    others: tuple[StoredSlot, ...]
    instead_of: StoredSlot | None


async def _log_in(args: argparse.Namespace, client: SwarmClient) -> int:
    store = SlotStore(client.config)
    # First of all: a swarm that refuses us should do so before a person has gone to the browser.
    place = _place(args, await store.all())
    print_line(f"Logging in with ChatGPT for slot {place.slot} of {client.http.shown_url}")
    credential = await obtain_credential(
        port=args.port,
        opens_browser=not args.no_browser,
        timeout_s=args.timeout,
        env=process_env(),
    )
    row = place.instead_of.row if place.instead_of else None
    await store.put(place.slot, credential, instead_of=row)
    print_line(
        f"Logged in: account {masked(credential.account_id)}, good until"
        f" {wire_time(datetime.fromtimestamp(credential.expires_ms / 1000, UTC))},"
        f" stored in slot {place.slot} ({row.key if row else slot_key(place.slot)})"
    )
    _mention_twins(place, credential)
    return 0


def _place(args: argparse.Namespace, slots: Sequence[StoredSlot]) -> _Place:
    taken = {it.number: it for it in reversed(slots)}
    if args.slot is None:
        free = lowest_free(taken)
        if free is None:
            raise UsageError(
                f"all slots from 0 to {LAST_SLOT} are taken; `swarm-worker logout --slot N` frees"
                " one, and --slot N --replace renews one"
            )
        return _Place(free, tuple(slots), None)
    there = taken.get(args.slot)
    if there is not None and not args.replace:
        whose = masked(there.credential.account_id) if there.credential else "unreadable"
        raise UsageError(
            f"slot {args.slot} is taken (account {whose}); --replace puts the new login there"
        )
    return _Place(args.slot, tuple(slots), there)


def _mention_twins(place: _Place, credential: CodexCredential) -> None:
    twins = [
        str(it.number)
        for it in place.others
        if it.number != place.slot
        and it.credential
        and it.credential.account_id == credential.account_id
    ]
    if twins:
        notice(f"This account is in slot {', '.join(twins)} as well: they share its limits.")


# --- logging out
async def _log_out(args: argparse.Namespace, client: SwarmClient) -> int:
    store = SlotStore(client.config)
    if args.all and args.slot is not None:
        raise UsageError("--slot and --all exclude each other")
    there = sorted({it.number for it in await store.all()})
    wanted = there if args.all else [args.slot] if args.slot is not None else there
    if not args.all and args.slot is None and len(there) > 1:
        shown = ", ".join(map(str, there))
        raise UsageError(f"there are logins in the slots {shown}: say --slot N or --all")
    removed = [slot for slot in wanted if slot in there and await store.delete(slot)]
    for slot in removed:
        print_line(f"Logged out: slot {slot} is empty now")
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
