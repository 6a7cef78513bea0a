"""Names of harness profiles, and the variables that choose one.

A name is ``AGENT:VARIANT``, such as ``claude:plan``; the agent is a harness. Case does not matter,
and ``_`` is as good as ``-``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, NamedTuple

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.providers.registry import DEFAULT_HARNESS, supported_providers
from agent_swarm_worker.settings import SettingsModel, live, operator_only
from agent_swarm_worker.settings.base import CommaList, Stripped  # noqa: TC001 - pydantic reads them

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent_swarm_worker.guards.permissions.policy import PermissionSettings

DEFAULT = "default"
VARIABLE = "HARNESS_PROFILE"
CHOICES = "HARNESS_PROFILE_TASK_CHOICES"
_VARIANT = re.compile(r"[a-z0-9][a-z0-9.-]*")


class HarnessProfileSettings(SettingsModel):
    """Which harness profile sessions run with."""

    # --- harness profiles
    file: Path | None = operator_only("SWARM_HARNESS_PROFILES")
    """TOML file with harness profiles and tool servers, merged over the shipped ones; read again
    for each session ([harness-profiles.md](harness-profiles.md))."""
    profile: Stripped = operator_only(VARIABLE, default="")
    """The harness profile of all sessions, such as ``claude:plan``; it also chooses the harness.
    By default the variant ``default`` of the harness."""
    task_choices: CommaList = operator_only(CHOICES, default=())
    """Comma-separated harness profiles that a task may choose instead by its tag
    ``profile:NAME``. By default none."""
    provider: Stripped = live("HARNESS_PROVIDER", default="", is_shared=True)


class ProfileName(NamedTuple):
    """The name of a harness profile, in the form in which it is shown."""

    harness: str
    variant: str = DEFAULT

    def __str__(self) -> str:
        return f"{self.harness}:{self.variant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessProfile:
    """What a harness profile says, ready to be applied."""

    name: ProfileName
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Laid over the environment of a session: options, command, model, effort, setup, cleanup and
    the variables of ``env``."""
    args: tuple[str, ...] = ()
    append_prompt: str = ""
    permissions: PermissionSettings | None = None
    sandbox: str = "local"
    mcp: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    """``None``: it does not say."""


def folded(name: str) -> str:
    """Return a name in the spelling in which names are compared."""
    return name.strip().lower().replace("_", "-")


def harness_of(name: str) -> str | None:
    """Return the installed harness with this name, in any spelling."""
    wanted = folded(name)
    return next((one for one in supported_providers() if folded(one) == wanted), None)


def why_no_variant(name: str) -> str:
    """Return why a variant cannot have this name; empty if it can."""
    if name.strip().startswith("__"):
        return "names that begin with __ are reserved"
    if not _VARIANT.fullmatch(folded(name)):
        return "a name has letters, digits, - and _"
    return ""


def parse_name(text: str, *, harness: str = "") -> ProfileName:
    """Read ``AGENT:VARIANT``; ``ValueError`` says what is wrong.

    A text without a colon is a variant of `harness`, or without one the agent alone.
    """
    agent, colon, variant = text.partition(":")
    if not colon:
        agent, variant = (harness, agent) if harness else (agent, DEFAULT)
    found = harness_of(agent)
    if found is None:
        near = nearest(agent, supported_providers())
        msg = f"unknown harness {agent.strip()!r}{near}; expected AGENT:VARIANT"
        raise ValueError(msg)
    if why := why_no_variant(variant):
        raise ValueError(why)
    return ProfileName(found, folded(variant))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like this one; empty if none is."""
    close = get_close_matches(folded(name), {folded(one): None for one in known}, n=1, cutoff=0.5)
    found = next((one for one in known if close and folded(one) == close[0]), "")
    return f" (did you mean {found!r}?)" if found else ""


def chosen_name(env: Mapping[str, str]) -> ProfileName | None:
    """Return the harness profile that ``HARNESS_PROFILE`` names; raises `BadSetting`."""
    text = HarnessProfileSettings.load(env).profile
    if not text:
        return None
    try:
        return parse_name(text)
    except ValueError as error:
        raise BadSetting(VARIABLE, text, str(error)) from None


def check_choice(env: Mapping[str, str]) -> None:
    """Check the names that choose harness profiles; they need not exist.

    Raises:
        BadSetting: one is no name, or ``HARNESS_PROVIDER`` is not of ``HARNESS_PROFILE``'s harness.
    """
    settings = HarnessProfileSettings.load(env)
    for text in settings.task_choices:
        try:
            parse_name(text, harness=DEFAULT_HARNESS)
        except ValueError as error:
            raise BadSetting(CHOICES, text, str(error)) from None
    chosen, provider = chosen_name(env), settings.provider
    if chosen is not None and provider and folded(provider) != folded(chosen.harness):
        why = f"it is of the harness {chosen.harness!r}, and HARNESS_PROVIDER is {provider!r}"
        raise BadSetting(VARIABLE, str(chosen), why)
