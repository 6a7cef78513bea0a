"""The harness ``pi``: an agent inside the worker, for the models of several vendors."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import CredentialsMissing, MissingExtra, UnknownModel
from agent_swarm_worker.network import check_reachable
from agent_swarm_worker.providers.kit.launch import SpecAdapter
from agent_swarm_worker.providers.pi.files import is_saved, read_agent_files
from agent_swarm_worker.providers.pi.models import choose_model, missing_credentials
from agent_swarm_worker.providers.pi.spec import SPEC, PiOptions
from agent_swarm_worker.providers.pi.translate import PiReplay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import (
        Guest,
        ProviderSession,
        ProviderSessionConfig,
        Translator,
    )


class PiAdapter(SpecAdapter):
    """Runs each task as a conversation with a model, in this process."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions can start with this environment.

        Raises:
            MissingExtra: the model library is not installed.
            UnreadableFile: ``auth.json`` or ``models.json`` exists and cannot be used.
            CredentialsMissing: there is no credential.
            BadSetting: the model's URL, a proxy or a file of certificates cannot be used.
        """
        if find_spec("pydantic_ai") is None:
            raise MissingExtra("the harness pi", "pi")
        model, files = PiOptions.load(env).model_override, await read_agent_files(env, guest)
        missing = missing_credentials(model, env, files)
        if missing:
            raise CredentialsMissing("pi", missing)
        with suppress(UnknownModel):  # a task may name another one
            choice = choose_model(model, env, files)
            if choice.base_url:
                check_reachable(choice.base_url, name="the model's base URL")

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Create a session; raises the errors of `choose_model` and `read_agent_files`."""
        from agent_swarm_worker.providers.pi.session import PiSession  # noqa: PLC0415 - see check

        files = await read_agent_files(config.env, config.guest)
        for entry in (*files.auth.values(), *files.providers.values()):
            for name in ("key", "access", "refresh", "apiKey"):
                secret = entry.get(name)
                if isinstance(secret, str) and secret not in config.env:
                    config.redactor.add(f"pi {name}", secret)
        return PiSession(config, choose_model(config.model, config.env, files))

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """Return whether the conversation of that session is saved."""
        return await is_saved(config.env, session_id, config.guest)

    async def translator(self, config: ProviderSessionConfig) -> Translator:
        """Return the translator for a replay; raises the errors of `create_session`."""
        files = await read_agent_files(config.env, config.guest)
        return PiReplay(config, choose_model(config.model, config.env, files))
