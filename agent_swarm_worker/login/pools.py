"""Credential pools: a variable may hold several keys, separated by commas; a session gets one.

The server knows which keys are rate-limited (API reference E29). Which one a session used is
remembered as a `Selection`, so that a limit it runs into is reported for that key and no other.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.login.slots import POOLED, STANDALONE, is_slot_name
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUFFIX_CHARS = 5
"""How much of a key the server may know."""

CLAUDE_TOKEN = "CLAUDE_CODE_OAUTH_TOKEN"  # noqa: S105 - the name of a variable
ANTHROPIC_KEY = "ANTHROPIC_API_KEY"
OPENAI_KEY = "OPENAI_API_KEY"
OPENROUTER_KEY = "OPENROUTER_API_KEY"

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "claude": (CLAUDE_TOKEN, ANTHROPIC_KEY),
    "codex": (STANDALONE, OPENAI_KEY),
    "opencode": (OPENROUTER_KEY, ANTHROPIC_KEY, OPENAI_KEY),
    "pi": (ANTHROPIC_KEY, OPENROUTER_KEY, OPENAI_KEY),
}
"""What the harnesses we know log in with; a subscription comes before a key that costs money."""
ONE_AT_A_TIME = frozenset({"claude", "codex"})
"""Harnesses with one vendor: they are given one credential, so that it is known which they use."""
SUBSCRIPTIONS = frozenset({CLAUDE_TOKEN, STANDALONE})
"""Logins of a person. A harness they are not meant for may misjudge its vendor by them."""

KEY_ONLY = "CODEX_AUTH_MODE"
"""Set to ``apikey`` if codex is to use the key although it is logged in."""
_BY_MODEL = frozenset({"opencode", "pi"})
"""Harnesses with many vendors; the model says whose key is used."""
_OPENAI_MODEL = re.compile(r"gpt-|chatgpt-|codex-|o\d")

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
    is_pooled: bool = False
    """True for a login of the swarm, which the session must not refresh."""
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


def variables_for(harness: str, model: str, needs: Sequence[str]) -> tuple[str, ...]:
    """Return the variables a session can log in with, the one it will use first.

    Args:
        harness: its name.
        model: that the session will ask, as far as it is known.
        needs: what the harness says of itself; counts for those that are not in the table.
    """
    known = VARIABLES.get(harness, tuple(needs))
    if harness not in _BY_MODEL:
        return known
    vendor, has_vendor, _ = model.strip().lower().partition("/")
    if has_vendor:
        named = f"{vendor.upper()}_API_KEY"
        # Another vendor's model is reached through OpenRouter, and never asked of OpenAI with its
        # own key (API reference section 4.6).
        first = named if named in known else OPENROUTER_KEY
        known = tuple(name for name in known if name in {first, OPENROUTER_KEY, ANTHROPIC_KEY})
    elif vendor.startswith("claude-"):
        first = ANTHROPIC_KEY
    elif _OPENAI_MODEL.match(vendor):
        first = OPENAI_KEY
    else:
        return known
    return tuple(dict.fromkeys((first, OPENROUTER_KEY, *known)))


async def select_credentials(
    variables: Sequence[str],
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    choose: Choose = random.choice,
) -> list[Selection]:
    """Choose one key for each of a harness's variables that is set, in their order of priority."""
    return [
        await _select(name, members, available, choose)
        for name in variables
        if (members := pool_members(named(env, name)))
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


def _pools(env: Mapping[str, str]) -> set[str]:
    known = {name for names in VARIABLES.values() for name in names}
    return {name for name in known if len(pool_members(named(env, name))) > 1}


def session_env(
    harness: str, env: Mapping[str, str], chosen: Sequence[Selection]
) -> dict[str, str]:
    """Return the environment of a session: of each pool the one key that was chosen.

    No session sees the swarm's logins, and no harness we know another one's subscription, or a pool
    from which nothing was drawn for it: nothing logs in with a list.
    """
    own = VARIABLES.get(harness, ())
    withheld = (SUBSCRIPTIONS - set(own)) | _pools(env) if own else frozenset()
    if chosen and harness in ONE_AT_A_TIME:
        withheld |= set(own)
    result = {
        name: value
        for name, value in env.items()
        if not is_slot_name(name) and name not in {POOLED, KEY_ONLY, *withheld}
    }
    for selection in chosen:
        if selection.value:
            result[selection.key_type] = selection.value
        if selection.is_pooled:
            result[POOLED] = "1"
        if harness == "codex" and selection.key_type == OPENAI_KEY:
            result[KEY_ONLY] = "apikey"
    return result
