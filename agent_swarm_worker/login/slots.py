"""The logins a swarm shares: configuration rows ``codex_oauth_<slot>``, of which tasks draw one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.credential import CodexCredential
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LAST_SLOT = 100
LEGACY_KEY = "codex_oauth"
"""How the only login was called before there were slots; counts as slot 0 if that is empty."""
STANDALONE = "CODEX_OAUTH"
"""The variable with a login of this worker's own; its session refreshes it by itself."""
POOLED = "CODEX_OAUTH_POOLED"
"""Set to 1 beside a login that belongs to the swarm, and so must not be refreshed."""

_KEY = re.compile(r"codex_oauth_(0|[1-9]\d{0,2})")
_ANY_CASE = re.compile(r"codex_oauth_\d+", re.IGNORECASE)


def slot_key(slot: int) -> str:
    """Return the configuration key of a slot."""
    return f"codex_oauth_{slot}"


def slot_of(key: str) -> int | None:
    """Return which slot a configuration key means, ``None`` if it means none."""
    if key == LEGACY_KEY:
        return 0
    found = _KEY.fullmatch(key)
    slot = int(found[1]) if found else None
    return slot if slot is not None and slot <= LAST_SLOT else None


def is_slot_name(name: str) -> bool:
    """True for a variable that no session may see: it holds a refresh token of the swarm."""
    return name == LEGACY_KEY or _ANY_CASE.fullmatch(name) is not None


def slots_of(env: Mapping[str, str]) -> dict[int, CodexCredential]:
    """Return the usable logins among the rows of an environment, by slot, lowest first.

    What cannot be read is left out. The row of the old name only counts if slot 0 is empty.
    """
    found: dict[int, CodexCredential] = {}
    for name in sorted(env, key=lambda name: name == LEGACY_KEY):
        slot = slot_of(name)
        if slot is None or slot in found:
            continue
        try:
            found[slot] = CodexCredential.parse(named(env, name))
        except CredentialUnreadable:
            continue
    return dict(sorted(found.items()))


def lowest_free(taken: Collection[int]) -> int | None:
    """Return the first slot that nobody has, gaps included; ``None`` if there is none."""
    return next((slot for slot in range(LAST_SLOT + 1) if slot not in taken), None)


def with_synthetic_login(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` as a session will roughly see it: with a login if the swarm has one to lend.

    For checks whether there is anything to log in with; no session is started with it.
    """
    slots = slots_of(env)
    if not slots:
        return dict(env)
    first = next(iter(slots.values()))
    return {**env, STANDALONE: first.without_refresh().to_value(), POOLED: "1"}
