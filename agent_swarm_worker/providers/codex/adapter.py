"""Make sessions of codex: check the prompt, prepare its home, choose transport and model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.errors import BinaryMissing, ProviderError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.agents_md import AgentsMd
from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import find_credential
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.launch import (
    MAX_PROMPT_CHARS,
    choose_transport,
    codex_launch,
    operator_config,
    prepare_home,
    session_config,
)
from agent_swarm_worker.providers.codex.outcome import STALE_SESSION, CodexState, Plan
from agent_swarm_worker.providers.codex.permissions import require_guard
from agent_swarm_worker.providers.codex.rollout import (
    find_rollout,
    has_text,
    read_rollout,
    replay_translator,
    used_before,
)
from agent_swarm_worker.providers.codex.spec import (
    DEFAULT_MODEL,
    SPEC,
    CodexLogin,
    CodexOptions,
    Transport,
    native_effort,
    resolve_model,
)
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, SpecAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import (
        Guest,
        ProviderResult,
        ProviderSession,
        ProviderSessionConfig,
        Translator,
    )
    from agent_swarm_worker.providers.kit.cli_session import HarnessFactory


class CodexAdapter(SpecAdapter):
    """Runs each task in a process of the CLI with a home of its own."""

    spec = SPEC

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions could start with this environment.

        Raises:
            CredentialsMissing: neither a login nor an API key can be used.
            BadSetting: a setting of this harness is invalid.
            BinaryMissing: the CLI is not installed.
        """
        program = CodexOptions.load(env).program[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)
        await find_credential(env, guest)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session.

        Raises:
            CredentialsMissing, BadSetting: as in `check`.
            ProviderError: the CLI would refuse the prompt, or the disk is full.
            UnguardedSession: the CLI would not ask for permission.
        """
        options = CodexOptions.load(config.env)
        config = _checked_prompt(config)
        transport = await choose_transport(config)
        if config.permissions is not None:
            require_guard(config, transport)
        make_harness = await _prepared(config, transport, self._clock)
        if not (options.system_prompt == "agents-md" and config.system_prompt):
            return CliSession(config, make_harness)
        block = AgentsMd(
            config.guest,
            config.cwd,
            config.session_uuid,
            options.operator_home,
            clock=self._clock,
        )
        return AgentsMdSession(config, make_harness, block)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the CLI's record of that session exists."""
        home = CodexLogin.load(config.env).operator_home
        return await find_rollout(session_id, home, config.guest) is not None

    async def translator(self, config: ProviderSessionConfig) -> Translator | None:
        """Return a translator for the replay of a journal."""
        return await replay_translator(config, self._clock)


def _checked_prompt(config: ProviderSessionConfig) -> ProviderSessionConfig:
    """Refuse a prompt that the CLI would not take; drop such a prompt of a fresh start."""
    if not config.prompt.strip():
        msg = "there is no prompt: codex was asked for nothing"
        raise ProviderError(msg)
    if len(config.prompt) > MAX_PROMPT_CHARS:
        msg = f"the prompt is too long for codex: {len(config.prompt)} of {MAX_PROMPT_CHARS} chars"
        raise ProviderError(msg)
    if len(config.fresh_prompt or "") > MAX_PROMPT_CHARS:
        return replace(config, fresh_prompt=None)
    return config


async def _prepared(
    config: ProviderSessionConfig, transport: Transport, clock: Clock
) -> Callable[[ProviderSessionConfig], CliHarness]:
    """Prepare the session's home; return the factory of its launches."""
    log = Log().bind(task_id=config.task_id)
    options = CodexOptions.load(config.env)
    home = options.operator_home
    base = await operator_config(config.guest, home, log)
    credential = await find_credential(config.env, config.guest)
    model = resolve_model(config.model) or str(base.get("model") or DEFAULT_MODEL)
    effort = native_effort(model, config.reasoning_effort)
    if config.reasoning_effort and effort is None:
        log.warning(
            Event.CONFIG_IGNORED, key="effort", value=config.reasoning_effort, why=f"not of {model}"
        )
    plan = Plan(
        transport=transport,
        model=model,
        effort=effort,
        applied_effort=config.reasoning_effort if effort else None,
        home=await prepare_home(config, credential),
        credential=credential,
        uses_agents_md=options.system_prompt == "agents-md",
        network_timeout_s=options.network_timeout_s,
    )

    earlier = await read_rollout(config.resume_session_id or "", home, config.guest)

    def make_harness(config: ProviderSessionConfig) -> CliHarness:
        rollout = earlier if config.resume_session_id else None
        if config.resume_session_id and rollout is None:
            # For some ids the CLI would start a new thread and not report it.
            log.warning(Event.SESSION_RESUMED, session=config.resume_session_id, state="not found")
            prompt = config.fresh_prompt or config.prompt
            config = replace(config, resume_session_id=None, prompt=prompt)
        state = CodexState(
            config=config,
            plan=replace(
                plan,
                used_before=used_before(rollout),
                changed_system_prompt=_changed_system_prompt(config, plan, rollout),
            ),
            clock=clock,
            model=plan.model,
        )
        return CliHarness(
            launch=codex_launch(config, state.plan, session_config(config, plan, base, log)),
            translator=ExecTranslator(state) if transport == "exec" else AppServer(state),
            stale_resume=(STALE_SESSION,),
        )

    return make_harness


def _changed_system_prompt(config: ProviderSessionConfig, plan: Plan, rollout: bytes | None) -> str:
    """Return the system prompt if the thread to resume was started with another."""
    if rollout is None or plan.uses_agents_md or has_text(rollout, config.system_prompt):
        return ""
    return config.system_prompt


class AgentsMdSession(CliSession):
    """A session that gets its system prompt from a block in the directory's ``AGENTS.md``."""

    def __init__(
        self, config: ProviderSessionConfig, make_harness: HarnessFactory, agents_md: AgentsMd
    ) -> None:
        super().__init__(config, make_harness)
        self._agents_md = agents_md

    async def wait_for_completion(self) -> ProviderResult:
        """Put the block into the file, run the session, and remove the block."""
        await self._agents_md.insert(self.config.system_prompt)
        try:
            return await super().wait_for_completion()
        finally:
            with anyio.CancelScope(shield=True):
                await self._agents_md.remove()
