"""Make sessions of agents that speak ACP; find out which of their sessions can be continued."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import SessionInit
from agent_swarm_worker.errors import BadSetting, BinaryMissing, CredentialsMissing
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.acp.client import AcpClient
from agent_swarm_worker.providers.acp.client_tools import ClientTools
from agent_swarm_worker.providers.acp.launch import (
    Plan,
    acp_launch,
    session_servers,
    text_file,
)
from agent_swarm_worker.providers.acp.mcp_files import with_mcp_file
from agent_swarm_worker.providers.acp.outcome import STALE_SESSION, AcpState
from agent_swarm_worker.providers.acp.spec import SPEC, AcpLimits, AcpOptions
from agent_swarm_worker.providers.acp.target import CUSTOM, Target
from agent_swarm_worker.providers.acp.targets import TARGETS
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, SpecAdapter
from agent_swarm_worker.providers.kit.permissions import UnguardedSession, repository_folders
from agent_swarm_worker.providers.registry import create_provider, supported_providers
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from agent_swarm_worker.contract import (
        Guest,
        ProviderEvent,
        ProviderResult,
        ProviderSession,
        ProviderSessionConfig,
        Translator,
    )
    from agent_swarm_worker.providers.kit.cli_session import HarnessFactory

NOTES = ".local/state/swarm-worker/acp"
"""Below the home directory: the ids of sessions of agents whose own files do not tell them."""
_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


class AcpAdapter(SpecAdapter):
    """Base of a harness that speaks ACP: one agent, one process for each task."""

    target: Target = CUSTOM
    login_variables: tuple[str, ...] = ()
    """Variables that give the agent a model, besides the credentials of the specification."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    # --- what a harness may override
    def target_of(self, env: Mapping[str, str]) -> Target:
        """Return the agent."""
        del env
        return self.target

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        return self.target_of(env).command

    async def check_credential(self, env: Mapping[str, str], guest: Guest) -> None:
        """Raise `CredentialsMissing` if nothing is found that the agent could log in with."""
        credentials, home = self.spec.credentials, AcpLimits.load(env).home
        variables = (*credentials.variables, *self.login_variables)
        if not credentials.variables or any(named(env, name).strip() for name in variables):
            return
        for file in credentials.files if home else ():
            if await guest.exists(f"{home}/{file}"):
                return
        raise CredentialsMissing(self.name, credentials.variables)

    async def plan(self, config: ProviderSessionConfig) -> Plan:
        """Return the choices for one session."""
        return await with_mcp_file(self.plan_of(config, self.target_of(config.env)), config)

    def variables(self) -> frozenset[str]:
        """Return the variables of the worker that are meant for the agent."""
        options = self.spec.options.variables() if self.spec.options is not None else {}
        names = (name for names in options.values() for name in names)
        return frozenset((*self.spec.credentials.variables, *self.login_variables, *names))

    # --- the adapter
    def plan_of(self, config: ProviderSessionConfig, target: Target) -> Plan:
        """Return the choices that follow from the agent's description.

        Raises:
            UnguardedSession: the agent cannot be made to ask for permission, as the session wants.
        """
        variable, asking = {}, {}
        if config.permissions is not None:
            target = target.guarded()
            asking = dict(target.asking.env) if target.asking else {}
        if target.model_variable and config.model:
            variable[target.model_variable] = config.model
        option = (target.model_option, config.model) if target.model_option else ()
        servers = session_servers(config)
        return Plan(
            target=target,
            command=(*self.program(config.env), *(option if config.model else ())),
            env={**target.env, **config.env, **variable, **asking},
            model=config.model,
            names_model=bool(target.model_variable or target.model_option),
            mcp_servers=servers,
            limits=AcpLimits.load(config.env),
        )

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions could start with this environment.

        Raises:
            BadSetting: a setting of this harness is invalid.
            BinaryMissing: the agent is not installed.
            CredentialsMissing: it has no credential.
        """
        AcpLimits.load(env)
        program = self.program(env)[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)
        await self.check_credential(env, guest)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session; raises as `check`."""
        await self.check_credential(config.env, config.guest)
        plan = await self.plan(config)
        if config.permissions is not None:
            await _require_guard(config, plan)
        tools = ClientTools(config, plan.env)

        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            state = self._state(config, plan)
            return CliHarness(
                launch=acp_launch(config, plan),
                translator=AcpClient(state, plan, tools.handlers()),
                stays_after_result=plan.target.stays,
                stale_resume=(STALE_SESSION,),
            )

        note = None if plan.target.session_files else self._note_folder(config.env, plan.target)
        return AcpSession(config, make_harness, tools, note, clock=self._clock)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the agent's files of that session exist, or the worker's note of it."""
        if not _SESSION_ID.fullmatch(session_id) or ".." in session_id:
            return False
        target = self.target_of(config.env)
        home = AcpLimits.load(config.env).home
        if not home:
            return False
        if not target.session_files:
            folder = self._note_folder(config.env, target)
            return folder is not None and await config.guest.exists(f"{folder}/{session_id}")
        for folder, pattern in target.session_files:
            name = pattern.replace("{id}", session_id)
            if await config.guest.files.glob(f"{home}/{folder}", name):
                return True
        return False

    async def translator(self, config: ProviderSessionConfig) -> Translator | None:
        """Return a translator for the replay of a journal."""
        plan = replace(self.plan_of(config, self.target_of(config.env)), is_replay=True)
        state = self._state(config, plan)
        return AcpClient(state, plan)

    def _state(self, config: ProviderSessionConfig, plan: Plan) -> AcpState:
        named_model = named(plan.env, plan.target.model_variable) or plan.model
        return AcpState(
            config=config,
            clock=self._clock,
            spec=self.spec,
            target=plan.target,
            model=named_model,
        )

    def _note_folder(self, env: Mapping[str, str], target: Target) -> str | None:
        home = AcpLimits.load(env).home
        name = re.sub(r"[^a-z0-9]+", "-", target.name.lower())
        return f"{home}/{NOTES}/{self.name}-{name}" if home else None


_UNGUARDED = re.compile(
    r"--?(?:always-approve|yolo|y|allow-all(?:-tools)?|auto|auto-approve|full-auto"
    r"|(?:allow-)?dangerously-.*|skip-permissions.*|bypassPermissions)"
    r"|(?:--(?:approval|permission)-mode=)?(?:yolo|bypassPermissions)"
)
"""Arguments with which one agent or another asks nobody."""


async def _require_guard(config: ProviderSessionConfig, plan: Plan) -> None:
    """Raise `UnguardedSession` if the agent is told not to ask, or would run programs unasked."""
    agent = plan.target.name
    for argument in (*plan.command, *config.additional_args):
        if _UNGUARDED.fullmatch(argument):
            raise UnguardedSession(agent, f"the argument {argument} is not allowed under it")
    names = plan.target.asking.code_places if plan.target.asking else ()
    for place in await repository_folders(config):
        for name in names:
            if await config.guest.exists(place / name):
                raise UnguardedSession(agent, f"it would run the programs in {place / name}")


class AcpSession(CliSession):
    """A session that ends the commands it ran for the agent, and notes that it can be continued."""

    def __init__(
        self,
        config: ProviderSessionConfig,
        make_harness: HarnessFactory,
        tools: ClientTools,
        note_folder: str | None,
        *,
        clock: Clock,
    ) -> None:
        super().__init__(config, make_harness, clock=clock)
        self._tools = tools
        self._note_folder = note_folder
        self._opened: str | None = None

    async def wait_for_completion(self) -> ProviderResult:
        """Run the session; end all that it leaves."""
        try:
            async with self._tools.open():
                return await super().wait_for_completion()
        finally:
            with anyio.CancelScope(shield=True):
                await self._note()

    def _deliver(self, event: ProviderEvent) -> None:
        if isinstance(event, SessionInit):
            self._opened = event.session_id
        super()._deliver(event)

    async def _note(self) -> None:
        if self._note_folder is None or not _SESSION_ID.fullmatch(self._opened or ""):
            return
        try:
            await self.config.guest.files.write(f"{self._note_folder}/{self._opened}", b"1\n")
        except OSError as error:
            # The session cannot be continued later.
            self.log.warning(Event.STATE_DEGRADED, path=self._note_folder, why=str(error))


class GenericAdapter(AcpAdapter):
    """The harness ``acp``: the agent is a setting, and it sees few variables of the worker."""

    spec = SPEC

    def target_of(self, env: Mapping[str, str]) -> Target:
        """Return the agent that ``ACP_TARGET`` names; raises `BadSetting`."""
        return self._agent(env).target

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the operator's command line, else that of the agent."""
        options, agent = AcpOptions.load(env), self._agent(env)
        try:
            words = options.command_line() or agent.program(env)
        except ValueError as error:
            why = str(error).lower()
            raise BadSetting("ACP_TARGET_COMMAND", options.target_command, why) from None
        if not words:
            why = f"the target {options.target!r} needs the command line of an agent"
            raise BadSetting("ACP_TARGET_COMMAND", options.target_command, why)
        return words

    async def plan(self, config: ProviderSessionConfig) -> Plan:
        """Return the agent's plan, with the operator's command, options and variables."""
        options, agent = AcpOptions.load(config.env), self._agent(config.env)
        plan = await agent.plan(config)
        if options.target_args and not options.target_command:
            why = "ACP_TARGET_COMMAND, whose arguments these are, is not set"
            Log().warning(Event.CONFIG_IGNORED, key="ACP_TARGET_ARGS", why=why)
        target = plan.target
        keys = {*target.env, *target.env_keys, *options.target_env_keys, *agent.variables()}
        keys.add(target.model_variable)
        given = config.env.items()
        env = {name: value for name, value in given if _is_passed(name, keys)}
        env |= dict(plan.env.items() - given)  # what the plan sets itself
        if options.model_env_key and config.model:
            env[options.model_env_key] = config.model
        program = self.program(config.env)
        if config.permissions is None or options.command_line():
            command = (*program, *plan.command[len(agent.program(config.env)) :])
        else:
            command = plan.command  # without the argument that ends its asking
        if config.permissions is not None and plan.target.asking is not None:
            env |= plan.target.asking.env
        plan = replace(
            plan,
            command=command,
            env=env,
            names_model=plan.names_model or bool(options.model_env_key),
            options=options.config_options,
            has_client_tools=options.client_tools,
        )
        return await self._with_prompt_file(plan, config, options.system_prompt_path)

    async def _with_prompt_file(self, plan: Plan, config: ProviderSessionConfig, name: str) -> Plan:
        """Add the file with the system prompt, unless there is one that is not ours."""
        if not name or not config.system_prompt:
            return plan
        path = config.cwd / name
        if ".." in path.parts or not path.is_absolute():
            why = "expected an absolute path, or one below the working directory"
            raise BadSetting("ACP_SYSTEM_PROMPT_PATH", name, why)
        if await config.guest.exists(path):
            why = "the file exists; the prompt goes in front of the task"
            Log().warning(Event.CONFIG_IGNORED, key="ACP_SYSTEM_PROMPT_PATH", value=name, why=why)
            return plan
        file = text_file(path, config.system_prompt)
        return replace(plan, files=(*plan.files, file), has_system_prompt=True)

    def _agent(self, env: Mapping[str, str]) -> AcpAdapter:
        """Return the adapter of the agent: a row of the table, or another harness."""
        name = AcpOptions.load(env).target
        if name in TARGETS:
            return RowAdapter(TARGETS[name])
        found = create_provider(name) if name in supported_providers() else None
        if isinstance(found, AcpAdapter) and not isinstance(found, GenericAdapter):
            return found
        raise BadSetting("ACP_TARGET", name, f"expected one of {', '.join(TARGETS)}")


class RowAdapter(AcpAdapter):
    """The adapter of a row of `TARGETS`, for its plan."""

    spec = SPEC

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def variables(self) -> frozenset[str]:
        """Return none: the row has them."""
        return frozenset()


_PASSED = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "SHELL", "USER", "LOGNAME", "LANG", "TZ"),
        *("TERM", "BUN_INSTALL", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"),
        *("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    }
)
_PASSED_PREFIXES = ("XDG_", "LC_", "GIT_AUTHOR_", "GIT_COMMITTER_")


def _is_passed(name: str, keys: Collection[str]) -> bool:
    return name in _PASSED or name in keys or name.startswith(_PASSED_PREFIXES)
