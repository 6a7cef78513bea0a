"""The CLI's own record of a session: whether there is one to continue, and what it has used.

Reading the journal of a session again, whose worker was killed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import Credential, operator_home
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.spec import DEFAULT_MODEL, resolve_model
from agent_swarm_worker.providers.codex.state import Plan, TranslationState, read_tokens
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.outcome import LimitWindows

if TYPE_CHECKING:
    from pathlib import Path, PurePath

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.launch import Transport
    from agent_swarm_worker.providers.kit.launch import Translator

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAX_ROLLOUT_BYTES = 1 << 30
_MARK = b'"token_count"'


def is_thread_id(name: str) -> bool:
    """True for a UUID; anything else would make the CLI start a new session without a word."""
    return _UUID.fullmatch(name) is not None


async def find_rollout(thread_id: str, home: PurePath | None, guest: Guest) -> str | None:
    """Return the record of a session that can be continued, or ``None``.

    Args:
        thread_id: the CLI's own id of the session.
        home: the folder that keeps the records of all sessions.
        guest: where that folder is.
    """
    if home is None or not is_thread_id(thread_id):
        return None
    pattern = f"*/*/*/rollout-*-{thread_id.lower()}.jsonl"
    return next(iter(await guest.files.glob(f"{home}/sessions", pattern)), None)


async def read_rollout(thread_id: str, home: PurePath | None, guest: Guest) -> bytes | None:
    """Return what is in that record; ``None`` if there is none, nothing if it cannot be read."""
    path = await find_rollout(thread_id, home, guest)
    if path is None:
        return None
    try:
        return await guest.read(path, max_bytes=MAX_ROLLOUT_BYTES)
    except OSError:
        return b""


def used_before(rollout: bytes | None, *, until: datetime | None = None) -> Tokens:
    """Return the tokens that a session has used so far: what it reports later includes them.

    Args:
        rollout: its record, if it has one.
        until: what was recorded later does not count.
    """
    lines = (rollout or b"").splitlines()
    for line in reversed(lines):
        if _MARK not in line:
            continue
        try:
            record = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:  # cut off when the CLI was killed
            continue
        if until is not None and not _is_of(record, until):
            continue
        payload = mapping(record.get("payload"))
        if payload.get("type") == "token_count" and mapping(payload.get("info")):
            return read_tokens(mapping(payload["info"]).get("total_token_usage"))
    return Tokens()


def _is_of(record: dict[str, Any], until: datetime) -> bool:
    try:
        return datetime.fromisoformat(text(record.get("timestamp"))) <= until
    except (ValueError, TypeError):  # TypeError: a time of nowhere in particular
        return False


def was_told(rollout: bytes, instructions: str) -> bool:
    """True if a session's record has these instructions to the letter."""
    try:
        return orjson.dumps(instructions)[1:-1] in rollout
    except TypeError:  # half a surrogate pair
        return False


_IS_EXEC = b'"thread.started"'
_HEAD_BYTES = 4096


async def replay_translator(config: ProviderSessionConfig, clock: Clock) -> Translator | None:
    """Return a translator for the lines of a journal.

    The app server's answers are understood because the same questions are asked again, to nobody.
    What a resumed thread had used before is in the CLI's own record of it, which tells the times;
    ``None`` if the journal does not say when the session began.
    """
    first, second = _beginning(config.log_file)
    transport: Transport = "exec" if _IS_EXEC in second else "app-server"
    plan = Plan(
        transport=transport,
        model=resolve_model(config.model) or DEFAULT_MODEL,
        effort=None,
        home=config.private_dir,
        credential=Credential(is_oauth=False),
    )
    if config.resume_session_id is not None:
        home = operator_home(config.env)
        rollout = await read_rollout(config.resume_session_id, home, config.guest)
        began = _began(first)
        if began is None:
            return None
        if rollout is None:  # a new thread was begun in its place
            config = replace(config, resume_session_id=None)
        plan = replace(plan, used_before=used_before(rollout, until=began))
    limits = LimitWindows(clock)
    state = TranslationState(config=config, plan=plan, clock=clock, limits=limits, model=plan.model)
    return ExecTranslator(state) if transport == "exec" else AppServer(state)


def _beginning(journal: Path) -> tuple[bytes, bytes]:
    """Return the record that describes the run, and the CLI's first line."""
    try:
        with journal.open("rb") as file:
            return file.readline(), file.readline(_HEAD_BYTES)
    except OSError:
        return b"", b""


def _began(record: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(text(mapping(orjson.loads(record)).get("timestamp")))
    except ValueError:
        return None
