"""The base of the adapter of a command line: its spec, a launch and a translator are enough."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing, ProviderError
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, SpecAdapter
from agent_swarm_worker.providers.kit.logins import find_login
from agent_swarm_worker.providers.kit.mcp_config import register_secrets, swarm_server_of
from agent_swarm_worker.providers.kit.native import mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import (
        Guest,
        HarnessSpec,
        McpServer,
        ProviderSession,
        ProviderSessionConfig,
        Translator,
    )
    from agent_swarm_worker.providers.kit.launch import Launch

MAX_FILE_BYTES = 1 << 20
MAX_ENTRIES = 1000
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)


class CliAdapter(SpecAdapter):
    """Runs each task in a process of a command line."""

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions could start with this environment.

        Raises:
            CredentialsMissing: it has no login and no key.
            BadSetting: the override of the program cannot be split into words.
            BinaryMissing: the program is not installed.
        """
        program = program_of(self.spec, env)[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)
        await self._require_credential(env, guest)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session; raises as `check`, but for the program, and `ProviderError`."""
        await self._require_credential(config.env, config.guest)
        launch = await self.prepare(config)

        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            return CliHarness(
                launch=launch(config),
                translator=self.translate(config),
                stale_resume=(ErrorClass.STALE_SESSION.value,),
            )

        return CliSession(config, make_harness)

    async def translator(self, config: ProviderSessionConfig) -> Translator:
        """Return a translator for the replay of a journal."""
        return self.replay(config)

    async def prepare(
        self, config: ProviderSessionConfig
    ) -> Callable[[ProviderSessionConfig], Launch]:
        """Prepare the files of a session; return the function that builds its launches."""
        raise NotImplementedError

    def translate(self, config: ProviderSessionConfig) -> Translator:
        """Return the translator of one process; it may be a `Conversation`."""
        raise NotImplementedError

    def replay(self, config: ProviderSessionConfig) -> Translator:
        """Return the translator of a journal."""
        return self.translate(config)

    async def has_login(self, env: Mapping[str, str], guest: Guest) -> bool:
        """True if the program is logged in, or has a key."""
        return bool(await find_login(self.spec.credentials, env, guest))

    async def _require_credential(self, env: Mapping[str, str], guest: Guest) -> None:
        if self.spec.credentials.variables and not await self.has_login(env, guest):
            raise CredentialsMissing(self.name, self.spec.credentials.variables)


def program_of(spec: HarnessSpec, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of a harness's program: the field `program` of its options."""
    options: Any = spec.options.load(env) if spec.options is not None else None
    words: tuple[str, ...] = options.program
    return words


def session_env(config: ProviderSessionConfig, **more: str) -> dict[str, str]:
    """Return the environment of a session's process, with `more` variables."""
    ids = {"AGENT_SWARM_TASK_ID": config.task_id, "AGENT_SWARM_AGENT_ID": config.agent_id}
    return {**config.env, **ids, **more}


def encoded(prompt: str) -> bytes:
    """Encode a prompt; JSON allows half a surrogate pair, UTF-8 does not."""
    return prompt.encode("utf-8", "replace")


def session_servers(config: ProviderSessionConfig) -> list[McpServer]:
    """Return the swarm's own tool server and the installed ones, each name once."""
    ours = swarm_server_of(config)
    return [ours, *(one for one in config.mcp_servers if one.name != ours.name)]


async def read_settings(
    config: ProviderSessionConfig, path: PurePath | str, servers_key: str = "mcpServers"
) -> dict[str, Any]:
    """Return the user's settings, JSON with comments; unreadable ones are logged and ignored.

    The secrets of the tool servers in them, below `servers_key`, are registered.
    """
    try:
        content = await config.guest.read(path, max_bytes=MAX_FILE_BYTES)
        found = mapping(orjson.loads(_plain_json(content.decode("utf-8-sig"))))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        Log().warning(Event.CONFIG_IGNORED, key=str(path), why=str(error))
        return {}
    for entry in mapping(found.get(servers_key)).values():
        register_secrets(mapping(entry), config.redactor)
    return found


def _plain_json(text: str) -> str:
    for pattern in (_COMMENT, _TRAILING_COMMA):
        text = pattern.sub(lambda found: found[1] or "", text)
    return text


async def linked_folder(
    config: ProviderSessionConfig,
    folder: PurePath,
    user_folder: PurePath,
    *,
    own: tuple[str, ...] = (),
    persistent: tuple[str, ...] = (),
) -> None:
    """Make a session's copy of the user's configuration folder, of links into it.

    Args:
        config: of the session.
        folder: the copy.
        user_folder: the user's; it may be missing.
        own: names that are not linked, as the session has files of its own.
        persistent: folders that are created at the user's: what the session writes there stays.

    Raises:
        ProviderError: the copy cannot be made.
    """
    files = config.guest.files
    try:
        await files.make_dir(str(folder))
        for name in persistent:
            await files.make_dir(str(user_folder / name))
        listing = await files.list(str(user_folder), limit=MAX_ENTRIES)
        for name, _ in listing.entries:
            if name not in own:
                with contextlib.suppress(FileExistsError):
                    await files.link(str(folder / name), str(user_folder / name))
    except FileNotFoundError:
        return  # the user has no such folder
    except OSError as error:
        msg = f"cannot prepare {folder}: {error.strerror or error}"
        raise ProviderError(msg) from error
