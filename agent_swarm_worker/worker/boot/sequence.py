"""What happens between the start and the first poll, in the order of docs/api.md 3.10.

Everything that can fail without making the worker useless does so with a line in the log. What
remains: no API, no registration, no credential. Those end the boot with an error.

Waiting until the harness has something to log in with (docs/api.md 3.11).

A worker without a credential parks, visibly, instead of crashing again and again: the credential
may come with the configuration at any time.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from agent_swarm_worker.aio import wait_all
from agent_swarm_worker.errors import (
    ApiError,
    ApiRefused,
    ApiUnreachable,
    CredentialsMissing,
    CredentialWaitExceeded,
    Unauthorized,
)
from agent_swarm_worker.imports import import_in_thread
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.boot import registration
from agent_swarm_worker.worker.boot.credentials import missing_credentials, report_credentials
from agent_swarm_worker.worker.boot.environment import check_harness
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Host,
    Identity,
    PausedAtStart,
    Running,
    Storage,
    Unsettled,
    Workspace,
)
from agent_swarm_worker.worker.boot.registration import apply_configuration, reconfigure
from agent_swarm_worker.worker.loops.paused import list_paused
from agent_swarm_worker.worker.recovery.left_behind import end_left_behind
from agent_swarm_worker.workspace.identity import (
    missing_texts,
    profile_of,
    store_missing,
    write_files,
)
from agent_swarm_worker.workspace.profiles import fetch_template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire import ConfigRow

API_PAUSE_S = 1.0
REGISTER_ATTEMPTS = 5
FOR_LATER = (
    "agent_swarm_worker.outbox.retries",
    "agent_swarm_worker.worker.recovery.startup",
    "agent_swarm_worker.worker.recovery.startup",
    "agent_swarm_worker.worker.run.task_run",
)
"""Modules that bring most of the code, and that nothing needs before the API has answered."""


class Parts(
    Identity,
    Config,
    Basics,
    Api,
    Storage,
    Running,
    Unsettled,
    PausedAtStart,
    Host,
    Workspace,
    Protocol,
):
    """What this module uses of the worker."""


async def boot(worker: Parts, beside: TaskGroup) -> None:
    """Make the worker ready to poll.

    Args:
        worker: what is booted.
        beside: for what the first poll does not have to wait for.

    Raises:
        ApiError: the API did not come up in time, or refuses us.
        ConfigError: the harness cannot be used, or no credential turned up.
    """
    await end_left_behind(worker)
    rows, _ = await wait_all(
        partial(_until_api_answers, worker), partial(import_in_thread, *FOR_LATER)
    )
    if rows is not None:
        apply_configuration(worker, rows)
    await _check_harness(worker)
    file_store = worker.client.resources.agent_credentials
    has_a_past = _has_a_past(worker)
    await wait_all(
        partial(_introduce, worker),
        partial(_best_effort, worker, "agent credentials", file_store),
        *(() if has_a_past else (partial(_clear_rows, worker),)),
    )
    await _recover(worker)
    if await wait_for_credentials(worker):
        # By now the first one may be long out of date.
        await _register_with_patience(worker)
    # None of these depends on another. A registration must have come before all of them.
    await wait_all(
        partial(_take_over_sessions, worker, has_a_past=has_a_past),
        partial(_load_identity, worker, beside),
        partial(_install_skills, worker),
        partial(registration.state_role, worker),
        partial(_report_credentials, worker),
        partial(_list_paused, worker),
    )
    worker.log.info(
        Event.WORKER_STARTED,
        agent=worker.agent_id,
        role=worker.options.role,
        harness=worker.harness.name,
        slots=worker.slots.capacity,
        api=worker.client.http.shown_url,
    )


async def _introduce(worker: Parts) -> None:
    """Register, as the persona that is configured.

    Raises:
        ApiError: we are refused, or the last of several attempts failed.
    """
    await _load_template(worker)
    await _register_with_patience(worker)


async def _recover(worker: Parts) -> None:
    from agent_swarm_worker.worker.recovery.startup import recover  # noqa: PLC0415 - see FOR_LATER

    await recover(worker)


def _has_a_past(worker: Parts) -> bool:
    """True if an earlier process left a task or a write that the server does not know the end of.

    The row of such a task stays on the server's list until `recover` has seen to the task.
    """
    return bool(worker.state.running()) or worker.outbox.pending() > 0


async def _clear_rows(worker: Parts) -> None:
    """Clear this agent's rows on the server's list: they are of earlier processes."""
    sessions, agent_id = worker.client.sessions, worker.agent_id
    await _best_effort(worker, "session clean-up", lambda: sessions.cleanup(agent_id))


async def _take_over_sessions(worker: Parts, *, has_a_past: bool) -> None:
    """Have put back what never began, once this agent's old rows are gone.

    In this order: a row of an earlier process would hide its task from the orphan recovery, and a
    result that is still on its way needs a row that hides its task.
    """
    from agent_swarm_worker.worker.recovery.startup import (  # noqa: PLC0415 - see FOR_LATER
        hold_undelivered,
    )

    if has_a_past:
        await _clear_rows(worker)
    sessions, agent_id = worker.client.sessions, worker.agent_id
    await hold_undelivered(worker)
    await _best_effort(worker, "orphan recovery", lambda: sessions.recover_orphaned(agent_id))
    if worker.facts.is_lead:
        await _best_effort(worker, "heartbeat sweep", worker.client.resources.sweep)


async def _report_credentials(worker: Parts) -> None:
    if not worker.settings.cred_check_disable:
        await report_credentials(worker)


async def _list_paused(worker: Parts) -> None:
    """Ask beforehand what is paused: the poll loop begins with that."""
    worker.paused_at_start = await list_paused(worker)


async def _until_api_answers(worker: Parts) -> Sequence[ConfigRow] | None:
    """Wait for the API to come up; workers are often started before it.

    Returns:
        The configuration rows; ``None`` from an older server that has none.

    Raises:
        Unauthorized: it is up, and the key is wrong: waiting would not help.
        ApiError: it did not come up within ``WORKER_API_READY_TIMEOUT_SECONDS``.
    """
    limit_s = worker.settings.api_ready_timeout_s
    failure: ApiError = ApiUnreachable(
        worker.client.http.shown_url, f"not a word within {limit_s} s", ambiguous=False
    )
    with anyio.move_on_after(limit_s):
        while True:
            try:
                return await worker.client.config.resolved(worker.agent_id)
            except Unauthorized as error:
                error.advice = "check AGENT_SWARM_API_KEY (or API_KEY)"
                raise
            except ApiRefused as error:
                if not error.is_server_fault:
                    return None  # an older server without this route; it is up
                failure = error
            except ApiError as error:
                failure = error
            await worker.clock.sleep(API_PAUSE_S)
    failure.advice = "is the API running, and is MCP_BASE_URL its address?"
    raise failure


async def _best_effort(worker: Parts, step: str, action: Callable[[], Awaitable[object]]) -> None:
    try:
        await action()
    except ApiError as error:
        worker.log.warning(Event.BOOT_STEP, step=step, why=str(error))


async def _check_harness(worker: Parts) -> None:
    """Find out now, not with the first task, that the harness is not installed.

    Raises:
        ConfigError: a setting of the harness cannot be used.
        ProviderError: its program is missing.
    """
    # A credential may still come with the configuration; `wait_for_credentials` waits for it.
    with contextlib.suppress(CredentialsMissing):
        values = worker.environment.values()
        await check_harness(worker.sandbox, worker.harness.adapter, values)


async def _load_template(worker: Parts) -> None:
    """Fetch the persona template, if one is configured, and take its defaults over."""
    settings, facts = worker.settings, worker.facts
    facts.role_label = worker.options.role
    facts.is_lead = worker.options.role == "lead"
    if not settings.template_id:
        return
    cache_dir = (
        settings.workspace_dir if settings.workspace_dir.is_dir() else worker.state.path
    ) / ".template-cache"
    template = await fetch_template(
        settings.template_registry_url, settings.template_id, cache_dir, worker.clock
    )
    if template is None:
        return
    facts.template = template
    facts.is_lead = facts.is_lead or template.is_lead
    if template.role and facts.role_label == "worker":
        facts.role_label = template.role
    if template.max_tasks and settings.max_concurrent_tasks is None:
        worker.slots.capacity = template.max_tasks


async def _register_with_patience(worker: Parts) -> None:
    """Register; an API that was up a moment ago may break one answer off, or be restarting.

    Raises:
        ApiError: we are refused, or the last of several attempts failed.
    """
    for attempt in range(1, REGISTER_ATTEMPTS + 1):
        try:
            await registration.register(worker)
        except ApiError as error:
            is_final = isinstance(error, ApiRefused) and error.status in {400, 401, 403}
            if is_final or attempt == REGISTER_ATTEMPTS:
                raise
            worker.log.warning(Event.BOOT_STEP, step="registration", why=str(error))
            await worker.clock.sleep(min(10.0, 2.0 ** (attempt - 1)))
        else:
            return


async def _load_identity(worker: Parts, beside: TaskGroup) -> None:
    """Fetch the profile, have stored what it lacks, and mirror it into the workspace.

    Without it nobody can tell an edit of the files from what they are left over from, so no edit of
    this run is brought back; the next boot sees to them.
    """
    facts, sync = worker.facts, worker.profile_sync
    worker.profile_sync = None
    try:
        agent = await worker.client.agents.me()
        if agent.id != worker.agent_id:
            worker.log.warning(Event.IDENTITY, state="of another agent", agent=agent.id)
            return
        facts.agent = agent
        profile = profile_of(agent)
        if sync is not None:
            profile = await sync.rescue(profile)
    except ApiError as error:
        worker.log.warning(Event.IDENTITY, state="unknown", why=str(error))
        return
    missing = missing_texts(profile, registration.profile_facts(worker), facts.template)
    beside.start_soon(store_missing, worker.client.agents, worker.agent_id, missing)
    facts.profile = {**profile, **missing}
    if sync is not None:
        await write_files(worker.settings.workspace_dir, facts.profile, worker.clock)
        await sync.begin(facts.profile)
        worker.profile_sync = sync


async def _install_skills(worker: Parts) -> None:
    if worker.skills is None:
        return
    await worker.skills.install_shipped()
    if worker.harness.spec.capabilities.has_local_environment:
        worker.facts.skills = await worker.skills.refresh()


async def wait_for_credentials(worker: Parts) -> bool:
    """Wait, telling the server each time, until a credential turns up in the configuration.

    Returns:
        True if there was a wait, so that the caller registers again.

    Raises:
        CredentialWaitExceeded: ``BOOT_MAX_WAIT_SECONDS`` is over; exit code 78.
    """
    settings = worker.settings
    missing = await missing_credentials(worker)
    if settings.cred_check_disable or not missing:
        return False
    worker.log.warning(
        Event.CREDENTIALS_MISSING, harness=worker.harness.name, one_of=" or ".join(missing)
    )
    started_at_s = worker.clock.monotonic()
    pause_s = settings.boot_initial_backoff_ms / 1000
    while missing:
        await report_credentials(worker, missing)
        waited_s = worker.clock.monotonic() - started_at_s
        limit_s = settings.boot_max_wait_s
        if limit_s and waited_s >= limit_s:
            raise CredentialWaitExceeded(missing, waited_s)
        await worker.clock.sleep(min(pause_s, limit_s - waited_s) if limit_s else pause_s)
        pause_s = min(pause_s * 2, settings.boot_max_backoff_ms / 1000)
        await reconfigure(worker)
        missing = await missing_credentials(worker)
    worker.log.info(Event.CREDENTIALS_READY, harness=worker.harness.name)
    return True
