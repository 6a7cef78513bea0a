"""Selects the credential of a session, and reports its use and its limits.

The first `Selection` is the one that the session uses; reports name only that one (docs/api.md 14).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.wire.bodies import credential_snapshot, windows_body
from agent_swarm_worker.clock import epoch_ms, wire_time
from agent_swarm_worker.credentials.hook import LoginServices
from agent_swarm_worker.credentials.pools import (
    Selection,
    one_of,
    select_credentials,
    variables_for,
)
from agent_swarm_worker.errors import ApiError, CredentialUnusable
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.providers.registry import adapter_spec, part_of
from agent_swarm_worker.reporting.port import WORKER_LANE
from agent_swarm_worker.worker.boot.registration import satisfied_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import HarnessSpec, ProviderAdapter, ProviderResult
    from agent_swarm_worker.credentials.hook import LoginHook
    from agent_swarm_worker.credentials.pools import AvailableKeys
    from agent_swarm_worker.worker.boot.parts import Core, SessionParts

LOCKS_DIR = "locks"
"""Below the state directory of all agents of this user: their workers share these locks."""
UNKNOWN_LIMIT = timedelta(minutes=5)
"""How long a key is not used after a limit without a known end."""
MAX_LIMIT = timedelta(days=7)


async def select_credentials_for(
    worker: SessionParts,
    adapter: ProviderAdapter,
    row: Task | None,
    model: str,
    env: Mapping[str, str],
) -> list[Selection]:
    """Choose the session's credentials from `env` and report the use of the first.

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
        chosen = await hook.select(login_services(worker, adapter.name, available, env))
    else:
        chosen = await select_credentials(
            variables_for(credentials, model),
            env,
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
            queue_credential_report(worker, WriteKind.REPORT_USAGE, used, {"task_id": row.id})
    return chosen


async def usable_login(worker: Core, spec: HarnessSpec, variable: str) -> Selection | None:
    """Return a login of a harness with a hook, refreshed if due; ``None`` if none may be used now.

    Raises:
        ApiError: the server does not say which ones rest.
    """
    hook: LoginHook = part_of(spec, spec.credentials.login)()
    available = worker.client.keys.available
    try:
        chosen = await hook.select(
            login_services(worker, spec.name, available, worker.harness_env())
        )
    except CredentialUnusable:
        return None
    now = worker.clock.now()
    return next(
        (
            login
            for login in chosen
            if login.key_type == variable and login.value and not login.is_fallback
            if worker.logins.rests_until.get((variable, login.suffix), now) <= now
        ),
        None,
    )


def queue_credential_report(
    worker: Core, kind: WriteKind, used: Selection, more: dict[str, object]
) -> None:
    """Queue one report on a credential; reports arrive in the order of the calls."""
    key = {"key_type": used.key_type, "suffix": used.suffix, "index": used.index}
    worker.outbox.put(WORKER_LANE, kind, {"key": key, **more})


def login_services(
    worker: Core, harness: str, available: AvailableKeys, env: Mapping[str, str]
) -> LoginServices:
    """Return the parts of the worker that a login hook may use."""
    return LoginServices(
        harness=harness,
        env=env,
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


def report_limits(
    worker: SessionParts, chosen: Sequence[Selection], result: ProviderResult, spec: HarnessSpec
) -> None:
    """Report the limits of the used credential, or clear them (docs/api.md 14.3).

    A key that served a whole session is cleared whatever its windows say: a subscription may
    continue beyond them.
    """
    if not chosen:
        return
    used, now = chosen[0], worker.clock.now()
    key = (used.key_type, used.suffix)
    if result.rate_limit_windows:
        windows = windows_body(result.rate_limit_windows, seen_at=wire_time(now))
        queue_credential_report(worker, WriteKind.REPORT_WINDOWS, used, {"windows": windows})
    if not result.is_error:
        # Another session may have hit the limit after this one was past it.
        if worker.logins.limited_at_s.get(key, -1.0) < used.chosen_at_s:
            worker.logins.rests_until.pop(key, None)
            queue_credential_report(worker, WriteKind.CLEAR_RATE_LIMIT, used, {})
        return
    rest = timedelta(milliseconds=worker.settings.codex_credits_exhausted_cooldown_ms)
    until = limited_until(result, now, credits_rest=rest, error_texts=spec.error_texts)
    if until is not None:
        worker.logins.limited_at_s[key] = worker.clock.monotonic()
        worker.logins.rests_until[key] = until
        worker.log.warning(Event.CREDENTIAL_LIMITED, key=used.key_type, until=wire_time(until))
        queue_credential_report(
            worker, WriteKind.REPORT_RATE_LIMIT, used, {"until": wire_time(until)}
        )


def tested_status(
    worker: SessionParts, chosen: Sequence[Selection], spec: HarnessSpec, result: ProviderResult
) -> dict[str, Any] | None:
    """Return the credential status with the session as its live test (docs/api.md 3.6).

    ``None`` if the session tells nothing: it had no credential, or failed for another reason. And
    if the operator wants no checks.
    """
    kind = classify_error(
        result.failure_reason or "", category=result.error_category, also=spec.error_texts
    )
    if worker.settings.cred_check_disable:
        return None
    if not chosen or (result.is_error and kind is not ErrorClass.AUTHENTICATION_FAILED):
        return None
    now_ms = epoch_ms(worker.clock.now())
    live_test = {
        "ok": not result.is_error,
        "error": kind.value if result.is_error else None,
        "latency_ms": round((worker.clock.monotonic() - chosen[0].chosen_at_s) * 1000),
        "testedAt": now_ms,
    }
    return credential_snapshot(
        missing=(),
        satisfied_by=satisfied_by(worker),
        kind="post_task",
        reported_at_ms=now_ms,
        live_test=live_test,
        details=worker.facts.login_details,
    )


def limited_until(
    result: ProviderResult,
    now: datetime,
    *,
    credits_rest: timedelta,
    error_texts: Mapping[str, Sequence[str]] | None = None,
) -> datetime | None:
    """Return the end of the limit that a failed session hit; ``None`` if it hit none.

    `credits_rest` is how long a credential without credit is not used; `error_texts` are the
    harness's own, by class.
    """
    reason = result.failure_reason or ""
    kind = classify_error(reason, category=result.error_category, also=error_texts)
    stated = _stated_end(result, reason, now)
    if kind not in LIMITS:
        return clamp_reset(stated, now) if stated and result.rate_limit_reset_at else None
    if stated is not None:
        return clamp_reset(stated, now)
    if kind is ErrorClass.BILLING_ERROR:
        return now + min(max(credits_rest, UNKNOWN_LIMIT), MAX_LIMIT)
    return now + UNKNOWN_LIMIT


def _stated_end(result: ProviderResult, reason: str, now: datetime) -> datetime | None:
    """Return the end of the limit: from the harness, the error text, or the windows."""
    if result.rate_limit_reset_at:
        try:
            moment = datetime.fromisoformat(result.rate_limit_reset_at)
        except ValueError:
            pass
        else:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    stated = parse_reset_time(reason, now)
    ends = [
        window.resets_at_s
        for window in result.rate_limit_windows.values()
        if window.status == "rejected" and window.resets_at_s
    ]
    if stated is None and ends:
        return datetime.fromtimestamp(min(max(ends), 32_503_680_000), UTC)
    return stated
