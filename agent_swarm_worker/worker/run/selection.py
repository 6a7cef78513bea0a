"""The credential of a session: which one it gets, and the reports on how it fared.

The first `Selection` is the one the session uses; reports name that one and no other
(docs/api.md 14).

Which model and effort a task runs with (docs/api.md 15.8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import orjson

from agent_swarm_worker.credentials.hook import LoginServices
from agent_swarm_worker.credentials.pools import (
    Selection,
    one_of,
    select_credentials,
    variables_for,
)
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.providers.registry import adapter_spec, part_of
from agent_swarm_worker.reporting.port import WORKER_LANE
from agent_swarm_worker.settings import EFFORTS, TIERS, ModelSettings
from agent_swarm_worker.worker.boot.parts import Api, Basics, Config, Identity, Logins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.wire import Task
    from agent_swarm_worker.contract import ProviderAdapter
    from agent_swarm_worker.credentials.hook import LoginHook
    from agent_swarm_worker.credentials.pools import AvailableKeys

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
        state=worker.logins,
        clock=worker.clock,
        log=worker.log,
    )


_LEGACY_TIERS = {"haiku": "smol", "sonnet": "regular", "opus": "smart", "fable": "ultra"}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model with the reason for it, as the server wants it reported (docs/api.md 3.6)."""

    model: str
    """Empty: the harness's own default."""
    source: str
    effort: str | None


def choose_model(
    *,
    tiers: Mapping[str, str],
    env: Mapping[str, str],
    task_model: str | None,
    task_tier: str | None,
    task_effort: str | None,
) -> ModelChoice:
    """The task's model, else its tier's model, else the agent's override.

    Args:
        tiers: the models that the harness declares for the tiers.
        env: the variables in force.
        task_model: what the task asks for.
        task_tier: the tier it asks for.
        task_effort: the reasoning effort it asks for.
    """
    settings = ModelSettings.load(env)
    override = settings.model_override
    wanted = (task_model or "").strip() or resolve_tier(task_tier, tiers=tiers, env=env)
    model = wanted or override
    if not model:
        source = "adapter_default"
    elif model == (task_model or "").strip():
        source = "task"
    elif model == override:
        source = "agent_config"
    else:
        source = "custom"
    effort = task_effort or settings.reasoning_effort_override
    return ModelChoice(model, source, effort if effort in EFFORTS else None)


def resolve_tier(tier: str | None, *, tiers: Mapping[str, str], env: Mapping[str, str]) -> str:
    """The model of a tier: by ``MODEL_TIER_<TIER>``, ``MODEL_TIER_MAP``, or the harness's own."""
    name = _LEGACY_TIERS.get((tier or "").strip().lower(), (tier or "").strip().lower())
    if name not in TIERS:
        return ""
    settings = ModelSettings.load(env)
    own = settings.of_tier(name)
    return own or _from_map(settings.model_tier_map, name) or tiers.get(name, "")


def _from_map(text: str | None, tier: str) -> str:
    try:
        table = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return ""
    model = table.get(tier) if isinstance(table, dict) else None
    return model.strip() if isinstance(model, str) else ""
