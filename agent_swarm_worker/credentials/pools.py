"""Select one key for a session from a pool: a variable with several keys, separated by commas.

The server stores which keys are rate-limited (docs/api.md 14). A `Selection` records the key that a
session used, so that a limit is reported for that key.
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
"""Characters of a key that the server may know."""

AvailableKeys: TypeAlias = Callable[[str, int], Awaitable["Sequence[int] | None"]]
"""Returns which indices of `total` keys of a type are usable; ``None`` if not known."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One key chosen from a pool."""

    key_type: str
    index: int
    total: int
    suffix: str
    value: str = field(repr=False)
    """Empty if the session reads it from a file of its own."""
    is_fallback: bool = False
    """True if every key of the pool is rate-limited, and one was selected all the same."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Variables that the session gets in addition, see `Credentials.set_by_worker`."""
    chosen_at_s: float = 0.0
    """Monotonic seconds."""


def pool_members(value: str) -> list[str]:
    """Split a pool; a single key is a pool of one. JSON objects are not split at their commas."""
    if value.lstrip().startswith("{"):
        return _documents(value.strip())
    return [member.strip() for member in value.split(",") if member.strip()]


def _documents(text: str) -> list[str]:
    """Split a sequence of JSON objects, with or without commas between them."""
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
    """Return the variables a session with this model can log in with, the preferred one first."""
    known, rule = credentials.variables, credentials.by_model
    if rule is None:
        return known
    vendor, has_vendor, _ = model.strip().lower().partition("/")
    if has_vendor:
        named = f"{vendor.upper()}_API_KEY"
        # A model of another vendor is reached through the gateway (docs/api.md 14.1).
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
    choose: Callable[[Sequence[int]], int] = random.choice,
) -> list[Selection]:
    """Select one key for each of a harness's variables that is set, in order of priority.

    `is_pooled` is false if a variable holds one credential, even with commas in it.
    """

    def members(value: str) -> list[str]:
        return pool_members(value) if is_pooled else [it for it in [value.strip()] if it]

    return [
        await _select(name, found, available, choose)
        for name in variables
        if (found := members(named(env, name)))
    ]


async def _select(
    name: str,
    members: Sequence[str],
    available: AvailableKeys,
    choose: Callable[[Sequence[int]], int],
) -> Selection:
    indices = range(len(members))
    reported = await available(name, len(members))
    usable = indices if reported is None else [i for i in reported if i in indices]
    index = choose(usable or indices)
    key = members[index]
    return Selection(name, index, len(members), key[-SUFFIX_CHARS:], key, is_fallback=not usable)


async def usable_key(
    name: str,
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    rests: Callable[[str], bool],
    choose: Callable[[Sequence[int]], int] = random.choice,
) -> Selection | None:
    """Return a key of one variable that does not rest, for a request that is no session's.

    `rests` tells it of a suffix, where the server may not know yet.
    """
    members = pool_members(named(env, name))
    reported = await available(name, len(members)) if members else None
    usable = [
        index
        for index, key in enumerate(members)
        if (reported is None or index in reported) and not rests(key[-SUFFIX_CHARS:])
    ]
    if not usable:
        return None
    index = choose(usable)
    key = members[index]
    return Selection(name, index, len(members), key[-SUFFIX_CHARS:], key)


def one_of(chosen: Sequence[Selection]) -> list[Selection]:
    """Return the first selection that is not rate-limited, else the first."""
    return [next((it for it in chosen if not it.is_fallback), chosen[0])] if chosen else []


def session_env(
    credentials: Credentials,
    env: Mapping[str, str],
    chosen: Sequence[Selection],
    all_credentials: Iterable[Credentials],
) -> dict[str, str]:
    """Return the environment of a session of the harness that declares `credentials`.

    It has one key of each pool. Variables withheld from all sessions are left out. If the harness
    declares credentials, so are personal logins for other harnesses, and pools from which no key
    was selected: nothing can log in with a list.
    """
    all_credentials = (*all_credentials, credentials)
    own = set(credentials.variables)
    hidden = {name for each in all_credentials for name in each.set_by_worker}
    if own:
        hidden |= {name for each in all_credentials for name in each.personal} - own
        hidden |= _pools(env, all_credentials)
    if chosen and credentials.one_at_a_time:
        hidden |= own
    is_withheld = withheld_from_all(all_credentials)
    result = {
        name: value for name, value in env.items() if name not in hidden and not is_withheld(name)
    }
    for selection in chosen:
        if selection.value:
            result[selection.key_type] = selection.value
        result |= selection.also
    return result


def withheld_from_all(all_credentials: Iterable[Credentials]) -> Callable[[str], bool]:
    """Return a predicate: whether a variable is withheld from every session and script."""
    patterns = [re.compile(pattern) for each in all_credentials for pattern in each.withheld]
    return lambda name: any(pattern.fullmatch(name) for pattern in patterns)


def _pools(env: Mapping[str, str], all_credentials: Iterable[Credentials]) -> set[str]:
    known = {name for each in all_credentials if each.is_pooled for name in each.variables}
    return {name for name in known if len(pool_members(named(env, name))) > 1}
