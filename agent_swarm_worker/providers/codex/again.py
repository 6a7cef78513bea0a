"""Reading the journal of a session again, whose worker was killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import Credential
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.limits import RateLimits
from agent_swarm_worker.providers.codex.models import DEFAULT_MODEL, resolve_model
from agent_swarm_worker.providers.codex.plan import Plan
from agent_swarm_worker.providers.codex.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.codex.program import Transport
    from agent_swarm_worker.providers.launch import Translator

_HEAD_BYTES = 4096


def translator_again(config: ProviderSessionConfig, clock: Clock) -> Translator | None:
    """Return a translator for the lines of a journal.

    The app server's answers are understood because the same questions are asked again, to nobody.
    For a resumed thread there is none: its totals begin with what it had used before, and that can
    only be looked up before it starts.
    """
    if config.resume_session_id is not None:
        return None
    plan = Plan(
        transport=_transport_of(config.log_file),
        model=resolve_model(config.model) or DEFAULT_MODEL,
        effort=None,
        home=config.private_dir,
        credential=Credential(is_oauth=False),
    )
    limits = RateLimits(clock)
    seen = Seen(config=config, plan=plan, clock=clock, limits=limits, model=plan.model)
    return ExecTranslator(seen) if plan.transport == "exec" else AppServer(seen)


def _transport_of(journal: Path) -> Transport:
    """Tell by the CLI's first line how it was talked to."""
    try:
        with journal.open("rb") as file:
            file.readline()
            first = file.readline(_HEAD_BYTES)
    except OSError:
        first = b""
    return "exec" if b'"thread.started"' in first else "app-server"
