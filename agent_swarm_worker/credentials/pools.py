"""Credential pools: a variable may hold several keys, separated by commas; a session gets one.

The server knows which keys are rate-limited (docs/api.md 14). Which one a session used is
remembered as a `Selection`, so that a limit it runs into is reported for that key and no other.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent_swarm_worker.contract import Credentials

SUFFIX_CHARS = 5
"""How much of a key the server may know."""

AvailableKeys: TypeAlias = Callable[[str, int], Awaitable["Sequence[int] | None"]]
"""Asks the server which of `total` keys of a type are usable; ``None`` = it does not say."""
Choose: TypeAlias = Callable[["Sequence[int]"], int]


@dataclass(frozen=True, slots=True)
class Selection:
    """One key chosen from a pool."""

    key_type: str
    index: int
    total: int
    suffix: str
    value: str = field(repr=False)
    """Empty if the session finds it by itself, in a file."""
    is_fallback: bool = False
    """True if every key of the pool is limited and one was taken all the same."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Variables that the session gets with it, see `Credentials.set_by_worker`."""
    chosen_at_s: float = 0.0
    """Monotonic seconds."""


def pool_members(value: str) -> list[str]:
    """Split a pool; a plain key is a pool of one. JSON documents are not cut at their commas."""
    if value.lstrip().startswith("{"):
        return _documents(value.strip())
    return [member.strip() for member in value.split(",") if member.strip()]


def _documents(text: str) -> list[str]:
    """Split JSON objects that stand one after the other, with commas between them."""
    decoder, found, rest = json.JSONDecoder(), [], text
    while rest:
        try:
            _, end = decoder.raw_decode(rest)
        except ValueError:
            return [text]
        found.append(rest[:end])
        rest = rest[end:].lstrip(", \t\r\n")
    return found


def variables_for(credentials: Credentials, model: str) -> tuple[str, ...]:
    """Return the variables a session can log in with, the one it will use first.

    Args:
        credentials: what the harness declares.
        model: that the session will ask, as far as it is known.
    """
    known, rule = credentials.variables, credentials.by_model
    if rule is None:
        return known
    vendor, has_vendor, _ = model.strip().lower().partition("/")
    if has_vendor:
        named = f"{vendor.upper()}_API_KEY"
        # Another vendor's model is reached through the gateway (docs/api.md 14.1).
        first = named if named in known else rule.gateway
        known = tuple(it for it in known if it == first or it not in rule.only_own_models)
    else:
        family = (name for pattern, name in rule.families if re.match(pattern, vendor))
        found = next(family, None)
        if found is None:
            return known
        first = found
    return tuple(dict.fromkeys((first, rule.gateway, *known)))


async def select_credentials(
    variables: Sequence[str],
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    is_pooled: bool = True,
    choose: Choose = random.choice,
) -> list[Selection]:
    """Choose one key for each of a harness's variables that is set, in their order of priority.

    Args:
        variables: their names.
        env: the variables in force.
        available: asks the server which keys are not limited.
        is_pooled: false if a variable holds one credential, whatever commas are in it.
        choose: picks among equals.
    """

    def members(value: str) -> list[str]:
        return pool_members(value) if is_pooled else [it for it in [value.strip()] if it]

    return [
        await _select(name, found, available, choose)
        for name in variables
        if (found := members(named(env, name)))
    ]


async def _select(
    name: str, members: Sequence[str], available: AvailableKeys, choose: Choose
) -> Selection:
    everyone = range(len(members))
    reported = await available(name, len(members))
    usable = everyone if reported is None else [i for i in reported if i in everyone]
    index = choose(usable or everyone)
    key = members[index]
    return Selection(name, index, len(members), key[-SUFFIX_CHARS:], key, is_fallback=not usable)


def one_of(chosen: Sequence[Selection]) -> list[Selection]:
    """Keep the first that is not limited; the first of all if all are."""
    return [next((it for it in chosen if not it.is_fallback), chosen[0])] if chosen else []


def session_env(
    credentials: Credentials,
    env: Mapping[str, str],
    chosen: Sequence[Selection],
    everyones: Iterable[Credentials],
) -> dict[str, str]:
    """Return the environment of a session: of each pool the one key that was chosen.

    No session sees what is withheld from all. One whose harness declares credentials sees no login
    of a person that is meant for another harness, and no pool from which nothing was drawn for it:
    nothing logs in with a list.

    Args:
        credentials: what the session's harness declares.
        env: the variables in force.
        chosen: what the session logs in with.
        everyones: what all known harnesses declare, this one included.
    """
    everyones = (*everyones, credentials)
    own = set(credentials.variables)
    hidden = {name for each in everyones for name in each.set_by_worker}
    if own:
        hidden |= {name for each in everyones for name in each.personal} - own
        hidden |= _pools(env, everyones)
    if chosen and credentials.one_at_a_time:
        hidden |= own
    is_withheld = withheld_from_all(everyones)
    result = {
        name: value for name, value in env.items() if name not in hidden and not is_withheld(name)
    }
    for selection in chosen:
        if selection.value:
            result[selection.key_type] = selection.value
        result |= selection.also
    return result


def withheld_from_all(everyones: Iterable[Credentials]) -> Callable[[str], bool]:
    """Return what tells whether a variable is withheld from every session and script."""
    patterns = [re.compile(pattern) for each in everyones for pattern in each.withheld]
    return lambda name: any(pattern.fullmatch(name) for pattern in patterns)


def _pools(env: Mapping[str, str], everyones: Iterable[Credentials]) -> set[str]:
    known = {name for each in everyones if each.is_pooled for name in each.variables}
    return {name for name in known if len(pool_members(named(env, name))) > 1}
