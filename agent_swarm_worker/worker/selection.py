"""The credential of a session: which one it gets, and the reports on how it fared.

The first `Selection` is the one the session uses; reports name that one and no other
(docs/api.md 14).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.login.hook import LoginServices
from agent_swarm_worker.login.pools import (
    Selection,
    one_of,
    select_credentials,
    variables_for,
)
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec, part_of
from agent_swarm_worker.reporting.port import WORKER_LANE
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.worker.parts import Api, Basics, Config, Identity, Logins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import ProviderAdapter
    from agent_swarm_worker.login.hook import LoginHook
    from agent_swarm_worker.login.pools import AvailableKeys
    from agent_swarm_worker.swarm.wire import Task

LOCKS_DIR = "locks"
"""Below the state directory of all agents of this user, so that their workers meet there."""


class Parts(Identity, Config, Basics, Api, Logins, Protocol):
    """What this module uses of the worker."""


async def select_for(
    worker: Parts, adapter: ProviderAdapter, row: Task | None, model: str
) -> list[Selection]:
    """Choose the session's credentials and report the use of the first.

    Raises:
        CredentialUnusable: there are logins, and none of them can be used.
        UnusableProvider: the harness's login hook cannot be imported.
    """

    async def available(key_type: str, total: int) -> Sequence[int] | None:
        try:
            return await worker.client.keys.available(key_type, total)
        except ApiError:
            return None

    spec = adapter_spec(adapter)
    credentials = spec.credentials
    if credentials.login:
        hook: LoginHook = part_of(spec, credentials.login)()
        chosen = await hook.select(_services(worker, adapter.name, available))
    else:
        chosen = await select_credentials(
            variables_for(credentials, model),
            worker.environment.values(),
            available,
            is_pooled=credentials.is_pooled,
        )
        if credentials.one_at_a_time:
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


def put_report(worker: Api, kind: WriteKind, used: Selection, more: dict[str, object]) -> None:
    """Queue one report on a credential; they arrive in the order in which they were queued."""
    key = {"key_type": used.key_type, "suffix": used.suffix, "index": used.index}
    worker.outbox.put(WORKER_LANE, kind, {"key": key, **more})


def _services(worker: Parts, harness: str, available: AvailableKeys) -> LoginServices:
    return LoginServices(
        harness=harness,
        env=worker.environment.values(),
        available=available,
        config=worker.client.config,
        refresh_locks=worker.client.refresh_locks,
        agent_id=worker.agent_id,
        lock_dir=worker.settings.state_root() / LOCKS_DIR,
        on_secret=worker.scrubber.add,
        memory=worker.logins,
        clock=worker.clock,
        log=worker.log,
    )
