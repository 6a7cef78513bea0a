"""Boots a worker: the steps between the start and the first poll, in the order of docs/api.md 3.10.

A step that fails is logged and skipped, except for three that end the boot: the API does not
answer, registration is refused, or no credential arrives in time. A worker without a credential
waits and reports that, since the configuration may bring one at any time (docs/api.md 3.11).
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

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
from agent_swarm_worker.worker.boot.environment import check_harness
from agent_swarm_worker.worker.boot.registration import (
    apply_configuration,
    missing_credentials,
    reconfigure,
    report_credentials,
    test_credentials,
)
from agent_swarm_worker.worker.loops.paused_tasks import list_paused
from agent_swarm_worker.worker.run.launch_files import SESSIONS_DIR, remove_private_dirs
from agent_swarm_worker.worker.run.questions import asker_of
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

    from agent_swarm_worker.api.wire.resources import ConfigRow
    from agent_swarm_worker.worker.boot.parts import BootParts

API_RETRY_S = 1.0
REGISTER_ATTEMPTS = 5
DEFERRED_MODULES = (
    "agent_swarm_worker.outbox.retries",
    "agent_swarm_worker.worker.loops.summaries",
    "agent_swarm_worker.worker.recovery.startup",
    "agent_swarm_worker.worker.run.task_run",
)
"""Modules that only sessions and recovery need: imported in a thread after the first poll, or
before recovery. The functions that use them import them locally, here and in `daemon.py`."""


async def boot(worker: BootParts, background: TaskGroup) -> None:
    """Make the worker ready to poll.

    Args:
        worker: the worker to boot.
        background: runs what the first poll does not have to wait for.

    Raises:
        ApiError: the API did not answer in time, or refused.
        ConfigError: the harness cannot be used, or no credential arrived.
    """
    await _sweep_claimed_sessions(worker)
    rows = await _until_api_answers(worker)
    if rows is not None:
        apply_configuration(worker, rows)
    await _check_harness(worker)
    file_store = worker.client.resources.agent_credentials
    has_unfinished_work = _has_unfinished_work(worker)
    await wait_all(
        partial(_load_template_and_register, worker),
        partial(_best_effort, worker, "agent credentials", file_store),
        partial(import_in_thread, *DEFERRED_MODULES)
        if has_unfinished_work
        else partial(_clear_rows, worker),
    )
    if has_unfinished_work:
        # Deferred import: see DEFERRED_MODULES.
        from agent_swarm_worker.worker.recovery.startup import recover  # noqa: PLC0415

        await recover(worker)
    worker.state.mark_reboot_handled()
    remove_private_dirs(worker.state.path / SESSIONS_DIR)
    if await wait_for_credentials(worker):
        # The first registration may be out of date by now.
        await _register_with_retries(worker)
    # Independent of each other; all of them need the registration above.
    await wait_all(
        partial(_recover_server_rows, worker, has_unfinished_work=has_unfinished_work),
        partial(_load_identity, worker, background),
        partial(_install_skills, worker),
        partial(registration.store_missing_role, worker),
        partial(_list_paused, worker),
        *(() if worker.settings.cred_check_disable else (partial(report_credentials, worker),)),
    )
    background.start_soon(test_credentials, worker)
    background.start_soon(asker_of(worker).withdraw_stale)
    worker.log.info(
        Event.WORKER_STARTED,
        agent=worker.agent_id,
        role=worker.options.role,
        harness=worker.harness.name,
        slots=worker.slots.capacity,
        api=worker.client.http.shown_url,
    )


async def _sweep_claimed_sessions(worker: BootParts) -> None:
    """End the processes of claimed sessions; `recover` reads their unread output later."""
    for claim in worker.state.running():
        await worker.sandbox.sweep(claim.handle or claim.tag)


async def _load_template_and_register(worker: BootParts) -> None:
    await _load_template(worker)
    await _register_with_retries(worker)


def _has_unfinished_work(worker: BootParts) -> bool:
    """True if an earlier process left a claim, or a write that is not acknowledged."""
    return bool(worker.state.running()) or worker.outbox.pending() > 0


async def _clear_rows(worker: BootParts) -> None:
    """Delete the session rows of earlier processes."""
    sessions, agent_id = worker.client.sessions, worker.agent_id
    await _best_effort(worker, "session clean-up", lambda: sessions.cleanup(agent_id))


async def _recover_server_rows(worker: BootParts, *, has_unfinished_work: bool) -> None:
    """Have the server put back tasks that were claimed and never started.

    The order matters: an old session row would hide its task from the orphan recovery, and a result
    in the outbox needs a row that does.
    """
    if has_unfinished_work:
        # Deferred import: see DEFERRED_MODULES.
        from agent_swarm_worker.worker.recovery.startup import hold_undelivered  # noqa: PLC0415

        await _clear_rows(worker)
        await hold_undelivered(worker)
    sessions, agent_id = worker.client.sessions, worker.agent_id
    await _best_effort(worker, "orphan recovery", lambda: sessions.recover_orphaned(agent_id))
    if worker.facts.is_lead:
        await _best_effort(worker, "heartbeat sweep", worker.client.resources.sweep)


async def _list_paused(worker: BootParts) -> None:
    worker.paused_at_start = await list_paused(worker)


async def _until_api_answers(worker: BootParts) -> Sequence[ConfigRow] | None:
    """Return the configuration rows once the API answers; ``None`` from an older server.

    Raises:
        ApiError: it refused the key, or did not answer in time.
    """
    limit_s = worker.settings.api_ready_timeout_s
    failure: ApiError = ApiUnreachable(
        worker.client.http.shown_url, f"no answer within {limit_s} s", ambiguous=False
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
                    return None  # an older server without this route
                failure = error
            except ApiError as error:
                failure = error
            await worker.clock.sleep(API_RETRY_S)
    failure.advice = "is the API running, and is MCP_BASE_URL its address?"
    raise failure


async def _best_effort(
    worker: BootParts, step: str, action: Callable[[], Awaitable[object]]
) -> None:
    try:
        await action()
    except ApiError as error:
        worker.log.warning(Event.BOOT_STEP, step=step, why=str(error))


async def _check_harness(worker: BootParts) -> None:
    """Check that the harness is installed, rather than failing the first task."""
    # `wait_for_credentials` handles a missing credential.
    with contextlib.suppress(CredentialsMissing):
        values = worker.environment.values()
        await check_harness(worker.sandbox, worker.harness.adapter, values)


async def _load_template(worker: BootParts) -> None:
    settings, facts = worker.settings, worker.facts
    facts.role_label = worker.options.role
    facts.is_lead = worker.options.is_lead
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


async def _register_with_retries(worker: BootParts) -> None:
    """Register, with retries: an API that has just answered may be restarting."""
    for attempt in range(1, REGISTER_ATTEMPTS + 1):
        try:
            await registration.register(worker)
        except ApiError as error:
            is_final = isinstance(error, ApiRefused) and error.status in {400, 401, 403}
            if is_final or attempt == REGISTER_ATTEMPTS:
                raise
            worker.log.warning(Event.BOOT_STEP, step="registration", why=str(error))
            asked_s = error.retry_after_s if isinstance(error, ApiRefused) else 0.0
            await worker.clock.sleep(max(min(10.0, 2.0 ** (attempt - 1)), asked_s))
        else:
            return


async def _load_identity(worker: BootParts, background: TaskGroup) -> None:
    """Fetch the profile, store its missing texts, and write it into the workspace.

    Without the stored profile, edits of this run cannot be told from an old version: the next boot
    uploads them.
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
    background.start_soon(store_missing, worker.client.agents, worker.agent_id, missing)
    facts.profile = {**profile, **missing}
    if sync is not None:
        await write_files(worker.settings.workspace_dir, facts.profile, worker.clock)
        await sync.begin(facts.profile)
        worker.profile_sync = sync


async def _install_skills(worker: BootParts) -> None:
    if worker.skills is None:
        return
    await worker.skills.install_shipped()
    if worker.harness.spec.capabilities.has_local_environment:
        worker.facts.skills = await worker.skills.refresh()


async def wait_for_credentials(worker: BootParts) -> bool:
    """Wait for a credential, reporting each check to the server; true if it had to wait.

    Raises:
        CredentialWaitExceeded: after ``BOOT_MAX_WAIT_SECONDS``; exit code 78.
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
