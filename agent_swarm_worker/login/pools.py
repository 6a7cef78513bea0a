"""Credential pools: a variable may hold several keys, separated by commas; a session gets one.

The server knows which keys are rate-limited (API reference E29). Which one a session used is
remembered as a `Selection`, so that a limit it runs into is reported for that key and no other.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUFFIX_CHARS = 5
"""How much of a key the server may know."""

AvailableKeys: TypeAlias = Callable[[str, int], Awaitable["Sequence[int] | None"]]
"""Asks the server which of `total` keys of a type are usable; ``None`` = it does not say."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One key chosen from a pool."""

    key_type: str
    index: int
    total: int
    suffix: str
    value: str
    is_fallback: bool = False
    """True if every key of the pool is limited and one was taken all the same."""


def pool_members(value: str) -> list[str]:
    """Split a pool; a plain key is a pool of one."""
    return [member.strip() for member in value.split(",") if member.strip()]


async def select_credentials(
    variables: Sequence[str],
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    choose: Callable[[Sequence[int]], int] = random.choice,
) -> list[Selection]:
    """Choose one key for each of a harness's variables that is set, in their order of priority."""
    return [
        await _select(name, members, available, choose)
        for name in variables
        if (members := pool_members(env.get(name, "")))
    ]


async def _select(
    name: str,
    members: Sequence[str],
    available: AvailableKeys,
    choose: Callable[[Sequence[int]], int],
) -> Selection:
    everyone = range(len(members))
    reported = await available(name, len(members))
    usable = everyone if reported is None else [i for i in reported if i in everyone]
    index = choose(usable or everyone)
    key = members[index]
    return Selection(name, index, len(members), key[-SUFFIX_CHARS:], key, is_fallback=not usable)


def with_selection(env: Mapping[str, str], chosen: Sequence[Selection]) -> dict[str, str]:
    """Return the environment with each pool replaced by the one key that was chosen."""
    return {**env, **{selection.key_type: selection.value for selection in chosen}}
