"""Define the login hook of a harness whose login takes more than reading a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from agent_swarm_worker.api.configuration import Config, RefreshLocks
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.credentials.credential import LoginState
    from agent_swarm_worker.credentials.pools import AvailableKeys, Selection
    from agent_swarm_worker.logs import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginServices:
    """Parts of the worker that a hook may use."""

    harness: str
    env: Mapping[str, str]
    """The variables in force, configuration rows included."""
    available: AvailableKeys
    config: Config
    refresh_locks: RefreshLocks
    agent_id: str
    lock_dir: Path
    """Directory of locks among the workers of this user on this machine."""
    on_secret: Callable[[str, str], None]
    """Registers a new secret, by name, with the scrubber; called before the secret is used."""
    state: LoginState
    clock: Clock
    log: Log


class LoginHook(Protocol):
    """Login of one harness, named by `Credentials.login`; constructed for each call."""

    async def select(self, services: LoginServices) -> list[Selection]:
        """Return the credentials of one session, the preferred one first; refresh if due.

        Raises:
            CredentialUnusable: there are credentials, but none can be used.
        """

    def lend(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` with a shared login, for checks whether a session could log in."""

    def restore(self, env: Mapping[str, str], log: Log) -> bool:
        """Write the login files of a new container; return whether there was a login to write."""
