"""Reading the journal of a session again, whose worker was killed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import Credential, operator_home
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.models import DEFAULT_MODEL, resolve_model
from agent_swarm_worker.providers.codex.plan import Plan
from agent_swarm_worker.providers.codex.rollout import read_rollout, used_before
from agent_swarm_worker.providers.codex.state import TranslationState
from agent_swarm_worker.providers.kit.limits import LimitWindows
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.codex.program import Transport
    from agent_swarm_worker.providers.kit.launch import Translator

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
