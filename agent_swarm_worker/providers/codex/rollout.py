"""Find and read the CLI's own record of a session (rollout); build the translator of a replay."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.ids import is_uuid
from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import Credential
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.outcome import CodexState, Plan, read_tokens
from agent_swarm_worker.providers.codex.spec import DEFAULT_MODEL, CodexLogin, resolve_model
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from pathlib import Path, PurePath

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, ProviderSessionConfig, Redactor, Translator
    from agent_swarm_worker.providers.codex.spec import Transport

MAX_ROLLOUT_BYTES = 1 << 30
_MARK = b'"token_count"'
_HEAD_BYTES = 4096


async def find_rollout(thread_id: str, home: PurePath | None, guest: Guest) -> str | None:
    """Return the path of the record of a session that can be resumed, or ``None``.

    An id that is not a UUID has no record, as the CLI would start a new session for it. `home` is
    the ``CODEX_HOME`` with the records of all sessions.
    """
    if home is None or not is_uuid(thread_id):
        return None
    pattern = f"*/*/*/rollout-*-{thread_id.lower()}.jsonl"
    return next(iter(await guest.files.glob(f"{home}/sessions", pattern)), None)


async def read_rollout(thread_id: str, home: PurePath | None, guest: Guest) -> bytes | None:
    """Return the content of the record; ``None`` if there is none, empty if it is unreadable."""
    path = await find_rollout(thread_id, home, guest)
    if path is None:
        return None
    try:
        return await guest.read(path, max_bytes=MAX_ROLLOUT_BYTES)
    except OSError:
        return b""


def used_before(rollout: bytes | None, *, until: datetime | None = None) -> Tokens:
    """Return the tokens that a session has used until then, which its later totals include."""
    for line in reversed((rollout or b"").splitlines()):
        if _MARK not in line:
            continue
        try:
            record = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:  # the CLI was killed while it wrote
            continue
        if until is not None and not _is_before(record, until):
            continue
        payload = mapping(record.get("payload"))
        if payload.get("type") == "token_count" and mapping(payload.get("info")):
            return read_tokens(mapping(payload["info"]).get("total_token_usage"))
    return Tokens()


def _is_before(record: dict[str, Any], until: datetime) -> bool:
    try:
        return datetime.fromisoformat(text(record.get("timestamp"))) <= until
    except (ValueError, TypeError):  # TypeError: a time without a zone
        return False


def has_text(rollout: bytes, content: str) -> bool:
    """True if a session's record contains exactly this text."""
    try:
        return orjson.dumps(content)[1:-1] in rollout
    except TypeError:  # half a surrogate pair
        return False


async def replay_translator(config: ProviderSessionConfig, clock: Clock) -> Translator | None:
    """Return a translator for the lines of a journal.

    An `AppServer` makes the same requests as in the session, so the answers in the journal match,
    and nothing is written. The earlier use of a resumed thread is in the CLI's record of it up to
    the start of the session; without that time in the journal there is no translator.
    """
    first, second = _first_lines(config.log_file)
    transport: Transport = "exec" if _is_exec(second, config.redactor) else "app-server"
    plan = Plan(
        transport=transport,
        model=resolve_model(config.model) or DEFAULT_MODEL,
        effort=None,
        home=config.private_dir,
        credential=Credential(is_oauth=False),
    )
    if config.resume_session_id is not None:
        home = CodexLogin.load(config.env).operator_home
        rollout = await read_rollout(config.resume_session_id, home, config.guest)
        start = _time_of(first)
        if start is None:
            return None
        if rollout is None:  # a new thread was started instead
            config = replace(config, resume_session_id=None)
        plan = replace(plan, used_before=used_before(rollout, until=start))
    state = CodexState(config=config, plan=plan, clock=clock, model=plan.model)
    return ExecTranslator(state) if transport == "exec" else AppServer(state)


def _first_lines(journal: Path) -> tuple[bytes, bytes]:
    """Return the metadata record of a journal, and the CLI's first line."""
    try:
        with journal.open("rb") as file:
            return file.readline(), file.readline(_HEAD_BYTES)
    except OSError:
        return b"", b""


def _is_exec(line: bytes, redactor: Redactor) -> bool:
    try:
        stored = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return mapping(redactor.with_words(stored)).get("type") == "thread.started"


def _time_of(record: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(text(mapping(orjson.loads(record)).get("timestamp")))
    except ValueError:
        return None
