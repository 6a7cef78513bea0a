"""The user that the worker runs as, and becoming that user for good."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ContainerError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOTS_HOME = "/root"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this system."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def named(cls, name: str) -> Account:
        """Look a user up.

        Raises:
            ContainerError: there is none of that name.
        """
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise ContainerError(f"there is no user {name!r} to run as") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` as this user's processes should see it.

        ``HOME`` stays what the operator made it, unless it is root's own.
        """
        home = env.get("HOME", "")
        kept = home if home and home != ROOTS_HOME else str(self.home)
        return {**env, "HOME": kept, "USER": self.name, "LOGNAME": self.name}


def account_to_become(name: str) -> Account | None:
    """Return the user whose rights this process has to take on; ``None`` if it keeps its own.

    Only root can become somebody else; `name` ``root`` stays root.

    Raises:
        ContainerError: we are root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    account = Account.named(name)
    return None if account.uid == 0 else account


def become(account: Account) -> None:
    """Take on the user's rights and give up one's own; there is no way back.

    Raises:
        OSError: the kernel refuses, as without the capabilities SETUID and SETGID.
    """
    os.initgroups(account.name, account.gid)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
