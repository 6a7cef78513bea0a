"""Make sessions of ``dsh``: prompt on standard input, all else in a private file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing
from agent_swarm_worker.providers.dsh.spec import KEY, SPEC, DshOptions
from agent_swarm_worker.providers.dsh.translate import DshTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch, SpecAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Guest, ProviderSession, ProviderSessionConfig


class DshAdapter(SpecAdapter):
    """Runs each task in a process of the program."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Raise `CredentialsMissing`, `BadSetting` or `BinaryMissing` if no session could start."""
        program = DshOptions.load(env).program[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)
        _require_credential(env)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session; raises as `check`."""
        _require_credential(config.env)

        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            return CliHarness(launch=dsh_launch(config), translator=DshTranslator(config))

        return CliSession(config, make_harness)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:  # noqa: ARG002
        """Return False: the program cannot continue a session without a terminal."""
        return False

    async def translator(self, config: ProviderSessionConfig) -> DshTranslator:
        """Return a translator for the replay of a journal."""
        return DshTranslator(config)


def _require_credential(env: Mapping[str, str]) -> None:
    if not DshOptions.load(env).key:
        raise CredentialsMissing(SPEC.name, SPEC.credentials.variables)


def dsh_launch(config: ProviderSessionConfig) -> Launch:
    """Build the launch of one session; raises `BadSetting` for an open quote in its program."""
    path = config.private_dir / "patch.json"
    model = config.model or SPEC.models.default
    patch: list[dict[str, Any]] = [
        {
            "id": "agent-default-model",
            "config": {"provider": "deepseek-official", "model": model.removeprefix("deepseek/")},
        },
        {"id": "llm-deepseek", "config": {"apiKeyEnv": KEY}},
    ]
    if config.system_prompt:
        persona = config.system_prompt.encode("utf-8", "replace").decode()
        patch.append({"id": "system-prompt", "config": {"personaPrefix": persona}})
    options = ("--profile", "headless", "--patch", str(path), "--json")
    return Launch(
        argv=(*DshOptions.load(config.env).program, *options, *config.additional_args, "-"),
        env={
            **config.env,
            "AGENT_SWARM_TASK_ID": config.task_id,
            "AGENT_SWARM_AGENT_ID": config.agent_id,
        },
        cwd=config.cwd,
        stdin=config.prompt.encode("utf-8", "replace"),
        # JSON is YAML, which it reads.
        files=(PrivateFile(path=path, content=orjson.dumps(patch)),),
    )
