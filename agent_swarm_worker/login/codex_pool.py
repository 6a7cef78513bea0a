"""What a codex session can log in with, in the order in which it is tried.

A login of ChatGPT comes before a key that costs money, and whatever is not limited before what
is. The swarm's slots are the pool of ``CODEX_OAUTH``; without any, the worker's own login counts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.credential import CodexCredential
from agent_swarm_worker.login.pools import SUFFIX_CHARS, Selection, pool_members
from agent_swarm_worker.login.settings import LoginSettings
from agent_swarm_worker.login.slots import POOLED, STANDALONE, slots_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.login.pools import AvailableKeys

OPENAI_KEY = "OPENAI_API_KEY"
KEY_ONLY = {"CODEX_AUTH_MODE": "apikey"}
"""Given with an API key: the program is to use it although it may be logged in."""


@dataclass(frozen=True, slots=True)
class Option:
    """One credential that can be tried."""

    selection: Selection
    slot: int | None = None
    login: CodexCredential | None = None
    """What is thought to be in the slot."""


def _shuffled(options: Sequence[Option]) -> list[Option]:
    return random.sample(options, len(options))


async def codex_options(
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    in_file: CodexCredential | None,
    shuffle: Callable[[Sequence[Option]], Sequence[Option]] = _shuffled,
) -> list[Option]:
    """Return all that a session could use, best first.

    Args:
        env: variables in force, the swarm's rows among them.
        available: asks the server which are not limited.
        in_file: the login of the program's own ``auth.json``, if there is one.
        shuffle: spreads the use over equals.
    """
    logins = await _logins(env, available, in_file)
    keys = await _keys(env, available)
    return [
        option
        for is_limited in (False, True)
        for group in (logins, keys)
        for option in shuffle([it for it in group if it.selection.is_fallback is is_limited])
    ]


async def _logins(
    env: Mapping[str, str], available: AvailableKeys, in_file: CodexCredential | None
) -> list[Option]:
    slots = slots_of(env)
    if slots:
        # The server counts by slot number, which may have gaps.
        total = max(slots) + 1
        usable = await available(STANDALONE, total)
        return [
            Option(
                Selection(
                    STANDALONE,
                    slot,
                    total,
                    login.suffix,
                    login.without_refresh().to_value(),
                    is_fallback=usable is not None and slot not in usable,
                    also={POOLED: "1"},
                ),
                slot,
                login,
            )
            for slot, login in slots.items()
        ]
    own = [
        (member, _suffix(member)) for member in pool_members(LoginSettings.load(env).codex_oauth)
    ]
    if not own and in_file is not None:
        own = [("", in_file.suffix)]
    return await _plain(STANDALONE, own, available)


async def _keys(env: Mapping[str, str], available: AvailableKeys) -> list[Option]:
    members = pool_members(LoginSettings.load(env).openai_api_key)
    keys = [(key, key[-SUFFIX_CHARS:]) for key in members]
    return await _plain(OPENAI_KEY, keys, available, also=KEY_ONLY)


async def _plain(
    name: str,
    members: Sequence[tuple[str, str]],
    available: AvailableKeys,
    *,
    also: Mapping[str, str] = MappingProxyType({}),
) -> list[Option]:
    if not members:
        return []
    usable = await available(name, len(members))
    return [
        Option(
            Selection(
                name,
                index,
                len(members),
                suffix,
                value,
                is_fallback=usable is not None and index not in usable,
                also=also,
            )
        )
        for index, (value, suffix) in enumerate(members)
    ]


def _suffix(text: str) -> str:
    """Of what is no credential nothing may be known, yet it has to be called something."""
    try:
        return CodexCredential.parse(text).suffix
    except CredentialUnreadable:
        return "?"
