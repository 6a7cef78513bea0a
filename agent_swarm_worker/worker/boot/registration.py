"""Registers this agent, and keeps registration, configuration and credential status current.

Configuration rows take effect at once: for new sessions, while running ones keep what they started
with (docs/api.md 13.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.api.wire.bodies import credential_snapshot
from agent_swarm_worker.api.wire.harness_names import SESSION_NAMES
from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.credentials.pools import usable_key as select_usable
from agent_swarm_worker.credentials.pools import variables_for
from agent_swarm_worker.errors import (
    ApiError,
    ApiRefused,
    CredentialsMissing,
    GatewayRefused,
    SwarmWorkerError,
)
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec, part_of
from agent_swarm_worker.settings import default_agent_name, named
from agent_swarm_worker.worker.boot.environment import check_harness, with_lent_login
from agent_swarm_worker.worker.boot.harness import server_names
from agent_swarm_worker.workspace.profiles import AgentDetails

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.api.wire.resources import Agent, ConfigRow
    from agent_swarm_worker.contract import HarnessSpec, SdkLogin
    from agent_swarm_worker.credentials.pools import Selection
    from agent_swarm_worker.worker.boot.parts import Core, LoopParts

REFRESH_S = 300.0
"""Interval of the registration; a server with several runtimes per agent expects it."""


async def register(worker: LoopParts) -> bool:
    """Register or refresh this agent (docs/api.md 3.1); true if the server's capabilities changed.

    Raises:
        ApiError: the server refused, or did not answer.
    """
    facts, harness = worker.facts, worker.harness.name
    agent, sent = await _register_by_name(worker, server_names(worker.harness.spec))
    worker.log.info(Event.REGISTERED, agent=worker.agent_id, name=agent.name, harness=harness)
    _log_name(worker, harness, sent)
    before, facts.agent = facts.server_capabilities, agent
    if agent.enabled_capabilities is not None:
        facts.server_capabilities = frozenset(agent.enabled_capabilities)
    return before != facts.server_capabilities


async def _register_by_name(worker: LoopParts, names: tuple[str, ...]) -> tuple[Agent, str]:
    """Register under the best name that the server accepts; return that name too."""
    known = worker.client.capabilities.harness_names
    await known.learn(names, worker.client.resources.openapi)
    for name in known.to_try(names[:-1]):
        try:
            agent = await _register_as(worker, name)
        except ApiRefused as refusal:
            if refusal.status != 400 or isinstance(refusal, GatewayRefused):
                raise
            known.note(name, accepted=False)
        else:
            known.note(name, accepted=True)
            return agent, name
    return await _register_as(worker, names[-1]), names[-1]


async def _register_as(worker: LoopParts, harness: str) -> Agent:
    template = worker.facts.template
    return await worker.client.agents.register(
        name=worker.settings.agent_name
        or (template.display_name if template else None)
        or default_agent_name(worker.options.role, worker.agent_id),
        is_lead=worker.facts.is_lead,
        role=worker.facts.role_label,
        capabilities=_capabilities(worker),
        max_tasks=worker.slots.capacity,
        provider=harness,
    )


def _log_name(worker: LoopParts, harness: str, sent: str) -> None:
    """Log, when it changes, under which name a harness is registered that old servers lack."""
    if (harness, sent) == worker.facts.logged_name or harness in SESSION_NAMES:
        return
    worker.facts.logged_name = harness, sent
    if sent != harness:
        why = f"the server does not accept {harness}"
    else:
        is_listed = worker.client.capabilities.harness_names.is_listed
        why = "the server lists it" if is_listed else "the server accepted it"
    worker.log.info(Event.HARNESS_NAME, harness=harness, registered_as=sent, why=why)


async def reregister(worker: LoopParts) -> bool:
    """Register again and store the role, which a reset server has lost; false if the API failed."""
    try:
        await register(worker)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="register", why=str(error))
        return False
    await store_missing_role(worker)
    return True


async def store_missing_role(worker: LoopParts) -> None:
    """Store role and capabilities where the server has none.

    Registration drops them (docs/api.md 3.1), and without them reserved work never reaches this
    agent.
    """
    agent = worker.facts.agent
    if agent is None:
        return
    missing: dict[str, object] = {}
    if not agent.role:
        missing["role"] = worker.facts.role_label[:100]
    capabilities = _capabilities(worker)
    if capabilities and not agent.capabilities:
        missing["capabilities"] = list(capabilities)
    if missing:
        try:
            await worker.client.agents.profile(worker.agent_id, missing, change_source="system")
        except ApiError as error:
            worker.log.warning(Event.IDENTITY, step="role", why=str(error))


def profile_facts(worker: Core) -> AgentDetails:
    """Return the facts from which a missing profile is generated."""
    agent = worker.facts.agent
    return AgentDetails(
        name=agent.name if agent else "",
        role=worker.facts.role_label,
        description=(agent.description or "") if agent else "",
        # `store_missing_role` may still be storing them.
        capabilities=(agent.capabilities or _capabilities(worker)) if agent else (),
    )


def _capabilities(worker: Core) -> tuple[str, ...]:
    template = worker.facts.template
    return worker.settings.capabilities or (template.capabilities if template else ())


async def reconfigure(worker: LoopParts) -> bool:
    """Fetch the configuration once; true if the agent must register again."""
    try:
        rows = await worker.client.config.resolved(worker.agent_id)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="config", why=str(error))
        return False
    return apply_configuration(worker, rows)


def apply_configuration(worker: LoopParts, rows: Iterable[ConfigRow]) -> bool:
    """Apply configuration rows; true if the agent must register again: harness or slots changed."""
    changed = worker.environment.apply(rows)
    if changed:
        worker.log.info(Event.CONFIG_CHANGED, keys=sorted(changed)[:20], count=len(changed))
    swapped = worker.harness.follow(worker.environment.values())
    capacity = worker.settings.slots(worker.options.role)
    template = worker.facts.template
    if template and template.max_tasks and worker.settings.max_concurrent_tasks is None:
        capacity = template.max_tasks
    resized = capacity != worker.slots.capacity
    if resized:
        worker.slots.capacity = capacity
    return swapped or resized


async def missing_credentials(worker: Core) -> tuple[str, ...]:
    """Return the variables of which one is needed; nothing if the harness can log in.

    A login that the swarm can lend counts like a variable of this process.
    """
    adapter, env = worker.harness.adapter, worker.harness_env()
    spec = adapter_spec(adapter)
    try:
        permissions = worker.harness.profile.permissions
        await check_harness(worker.sandbox, adapter, with_lent_login(spec, env), permissions)
    except CredentialsMissing as error:
        return error.missing
    return ()


def satisfied_by(worker: Core) -> str | None:
    """Return what a harness that can log in does it with; ``None`` if it needs nothing.

    The values are the server's: a login that the swarm lends becomes a file at a session's start.
    """
    spec, env = worker.harness.spec, worker.harness_env()
    if not spec.credentials.variables:
        return None
    if (login := sdk_login(spec)) is not None and login.applies(env):
        return "sdk-delegated"
    if any(named(env, name) for name in spec.credentials.variables):
        return "env"
    return "file" if with_lent_login(spec, env) == env else "side-effect-pending"


def sdk_login(spec: HarnessSpec) -> SdkLogin | None:
    """Return the login of a vendor's SDK that a harness may use."""
    reference = spec.credentials.sdk_login
    login: SdkLogin | None = part_of(spec, reference)() if reference else None
    return login


async def usable_key(worker: Core, variable: str) -> Selection | None:
    """Return a key of a variable that does not rest; ``None`` if all do.

    Raises:
        ApiError: the server does not say which keys rest.
    """
    now = worker.clock.now()

    def rests(suffix: str) -> bool:
        until = worker.logins.rests_until.get((variable, suffix))
        return until is not None and now < until

    env = worker.harness_env()
    return await select_usable(variable, env, worker.client.keys.available, rests=rests)


async def test_credentials(worker: Core) -> None:
    """Test the harness's credential at its vendor, and tell the server (docs/api.md 3.6).

    Without ``ready``, which would call a busy agent idle. No failure here is the worker's.
    """
    if worker.settings.cred_check_disable or satisfied_by(worker) is None:
        return
    try:
        test = await _live_test(worker)
        if test is not None:
            status = credential_snapshot(
                missing=(),
                satisfied_by=satisfied_by(worker),
                kind="boot",
                reported_at_ms=epoch_ms(worker.clock.now()),
                live_test={**test, "testedAt": epoch_ms(worker.clock.now())},
                details=worker.facts.login_details,
            )
            await worker.client.agents.report_status(worker.agent_id, status)
    except SwarmWorkerError as error:
        worker.log.debug(Event.API_REFUSED, call="credential-status", why=str(error))
    except Exception as error:  # of a harness's own test
        worker.log.error(Event.API_REFUSED, call="credential-status", why=repr(error))


async def _live_test(worker: Core) -> dict[str, object] | None:
    """Return the fields of a test; ``None`` if every key rests.

    Only an API key is tried. The presence of any other login is all that is tested: a request would
    say little about one that is renewed when it is used.
    """
    spec, env = worker.harness.spec, worker.harness_env()
    if (login := sdk_login(spec)) is not None and login.applies(env):
        began_s = worker.clock.monotonic()
        found = await login.test(env)
        worker.facts.login_details = dict(found.details)
        latency_ms = round((worker.clock.monotonic() - began_s) * 1000)
        error = worker.scrubber.text(found.error) or None
        return {"ok": not found.error, "error": error, "latency_ms": latency_ms}
    worker.facts.login_details = {}
    model = worker.settings.model_override or spec.models.default
    is_lent = with_lent_login(spec, env) != env
    variables = () if is_lent else variables_for(spec.credentials, model)
    variable = next((name for name in variables if named(env, name).strip()), "")
    services = {service.variable: service for service in spec.credentials.services}
    service = services.get(variable)
    if service is None or not service.base_url:
        return {"ok": True, "error": None, "latency_ms": 0}
    key = await usable_key(worker, variable)
    if key is None:
        return None
    # Deferred import: the first poll does not wait for this.
    from agent_swarm_worker.credentials.services import test_key  # noqa: PLC0415

    result = await test_key(service, key.value, env, scrub=worker.scrubber.text)
    error = result.error or None
    return {"ok": error is None, "error": error, "latency_ms": result.latency_ms}


async def report_credentials(worker: Core, missing: tuple[str, ...] = ()) -> None:
    """Tell the server whether the harness can log in (docs/api.md 3.6); failures are logged."""
    try:
        await worker.client.agents.credential_status(
            worker.agent_id,
            ready=not missing,
            missing=missing,
            satisfied_by=None if missing else satisfied_by(worker),
            reported_at_ms=epoch_ms(worker.clock.now()),
        )
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="credential-status", why=str(error))


async def reconfigure_loop(worker: LoopParts) -> None:
    """Refresh configuration, registration and the reported state of the credentials."""
    register_at_s = worker.clock.monotonic() + REFRESH_S
    reported: tuple[str, tuple[str, ...]] | None = None
    while True:
        await worker.clock.sleep(worker.settings.reconfigure_interval_s)
        now_s = worker.clock.monotonic()
        if await reconfigure(worker):
            register_at_s = now_s
        if now_s >= register_at_s and await reregister(worker):
            register_at_s = now_s + REFRESH_S
        reported = await _report_harness(worker, reported)


async def _report_harness(
    worker: LoopParts, reported: tuple[str, tuple[str, ...]] | None
) -> tuple[str, tuple[str, ...]] | None:
    """Report a change, but not while a task runs: the server then calls this agent idle."""
    try:
        missing = await missing_credentials(worker)
    except Exception as error:  # the session fails with it; the worker continues
        worker.log.debug(Event.CONFIG_IGNORED, key="HARNESS_PROVIDER", why=str(error))
        return reported
    state = (worker.harness.name, missing)
    if reported in (None, state) or len(worker.slots):
        return reported if len(worker.slots) else state
    await report_credentials(worker, missing)
    if not missing:
        await test_credentials(worker)
    return state
