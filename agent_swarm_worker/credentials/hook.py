"""Logging in for a harness when that takes more than reading a variable.

A harness's spec names such a hook (`Credentials.login`); the worker and the container reach it
through this interface and know nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from agent_swarm_worker.api.configuration import Config, RefreshLocks
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.credentials.credential import LoginMemory
    from agent_swarm_worker.credentials.pools import AvailableKeys, Selection
    from agent_swarm_worker.logs import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginServices:
    """What a hook may use of the worker."""

    harness: str
    """Name of the harness, for errors."""
    env: Mapping[str, str]
    """The variables in force, the swarm's configuration rows among them."""
    available: AvailableKeys
    """Asks the server which of a pool's credentials are not limited."""
    config: Config
    """The configuration rows as they are stored."""
    refresh_locks: RefreshLocks
    """The swarm's locks: one worker refreshes a login at a time."""
    agent_id: str
    lock_dir: Path
    """For locks among the workers of this user on this machine."""
    on_secret: Callable[[str, str], None]
    """Must be told every new secret, by name, before it goes anywhere."""
    memory: LoginMemory
    clock: Clock
    log: Log


class LoginHook(Protocol):
    """A harness's own way to log in. Made without arguments, used for one call."""

    async def select(self, services: LoginServices) -> list[Selection]:
        """Return the credentials of one session, the one it uses first; refresh what is due.

        Raises:
            CredentialUnusable: there are credentials, and none of them can be used.
        """
        ...

    def lend(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` as a session will roughly see it, for checks whether it could log in."""
        ...

    def restore(self, env: Mapping[str, str], log: Log) -> bool:
        """Write the login files of a fresh container; true if there was anything to write.

        Raises:
            OSError: a file cannot be written.
        """
        ...
