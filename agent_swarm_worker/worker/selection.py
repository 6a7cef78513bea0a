"""The credential of a session: which one it gets, and the reports on how it fared.

The first `Selection` is the one the session uses; reports name that one and no other
(API reference E29).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError, CredentialUnusable, LoginError
from agent_swarm_worker.login.auth_json import codex_home, login_in_file
from agent_swarm_worker.login.codex_pool import HARNESS, codex_options
from agent_swarm_worker.login.pools import (
    ONE_AT_A_TIME,
    Selection,
    one_of,
    select_credentials,
    variables_for,
)
from agent_swarm_worker.login.refresh import Refresher
from agent_swarm_worker.login.slots import slot_key
from agent_swarm_worker.login.store import SlotStore
from agent_swarm_worker.login.vendor import Vendor, issuer_of
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.port import WORKER_LANE
from agent_swarm_worker.swarm.queue import WriteKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import ProviderAdapter
    from agent_swarm_worker.login.codex_pool import Option
    from agent_swarm_worker.login.credential import CodexCredential
    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.context import Worker

LOCKS_DIR = "locks"
"""Below the state directory of all agents of this user, so that their workers meet there."""


async def select_for(
    worker: Worker, adapter: ProviderAdapter, row: Task | None, model: str
) -> list[Selection]:
    """Choose the session's credentials and report the use of the first.

    Raises:
        CredentialUnusable: there are logins, and none of them can be used.
    """

    async def available(key_type: str, total: int) -> Sequence[int] | None:
        try:
            return await worker.client.keys.available(key_type, total)
        except ApiError:
            return None

    env = worker.environment.values()
    if adapter.name == HARNESS:
        in_file = login_in_file(codex_home(env) / "auth.json")
        if in_file is not None and not in_file.refresh:
            in_file = None  # an old copy of one of the swarm's, which may have been taken away
        chosen = await _codex(worker, await codex_options(env, available, in_file=in_file))
    else:
        variables = variables_for(adapter.name, model, adapter.traits.needs_credential)
        chosen = await select_credentials(variables, env, available)
        if adapter.name in ONE_AT_A_TIME:
            chosen = one_of(chosen)
    now_s = worker.clock.monotonic()
    chosen = [replace(selection, chosen_at_s=now_s) for selection in chosen]
    for used in chosen[:1]:
        worker.log.info(
            Event.CREDENTIAL_SELECTED,
            key=used.key_type,
            index=used.index,
            of=used.total,
            all_limited=used.is_fallback or None,
        )
        if row is not None:
            put_report(worker, WriteKind.REPORT_USAGE, used, {"task_id": row.id})
    return chosen


def put_report(worker: Worker, kind: WriteKind, used: Selection, more: dict[str, object]) -> None:
    """Queue one report on a credential; they arrive in the order in which they were queued."""
    key = {"key_type": used.key_type, "suffix": used.suffix, "index": used.index}
    worker.outbox.put(WORKER_LANE, kind, {"key": key, **more})


async def _codex(worker: Worker, options: Sequence[Option]) -> list[Selection]:
    """Take the first option that works; a slot's login is made sure of first."""
    refresher = _refresher(worker)
    failed: dict[str, LoginError] = {}
    for option in options:
        if option.slot is None or option.login is None:
            return [option.selection]
        try:
            login = await refresher.usable(option.slot, option.login)
        except LoginError as error:
            failed[f"slot {option.slot}"] = error
        except ApiError as error:
            failed[f"slot {option.slot}"] = LoginError(str(error))
        else:
            return [_with_login(option.selection, login)]
        why = str(failed[f"slot {option.slot}"])
        worker.log.warning(Event.CREDENTIAL_REFUSED, key=slot_key(option.slot), why=why)
    if failed:
        raise CredentialUnusable(HARNESS, failed)
    return []


def _with_login(selection: Selection, login: CodexCredential) -> Selection:
    value = login.without_refresh().to_value()
    return replace(selection, value=value, suffix=login.suffix)


def _refresher(worker: Worker) -> Refresher:
    return Refresher(
        store=SlotStore(worker.client.config, worker.agent_id),
        locks=worker.client.refresh_locks,
        vendor=Vendor(issuer_of(worker.environment.values()), clock=worker.clock),
        clock=worker.clock,
        lock_dir=worker.settings.state_root() / LOCKS_DIR,
        on_secret=worker.scrubber.add,
        memory=worker.logins,
        log=worker.log,
    )
