"""Find the login of a harness: a variable of its credentials, or a file below the home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.settings import HarnessOptions, named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Credentials, Guest


async def find_login(credentials: Credentials, env: Mapping[str, str], guest: Guest) -> str:
    """Return the variable, or the file as ``~/…``, with a login; empty if there is none."""
    for variable in credentials.variables:
        if named(env, variable).strip():
            return variable
    home = HarnessOptions.load(env).home
    for file in credentials.files if home else ():
        if await guest.files.info(f"{home}/{file}") is not None:
            return f"~/{file}"
    return ""
