"""What pi can log in with: variables of the session's environment, else the agent directory.

The credential of one provider never goes to another: a Claude token in the environment neither
chooses Anthropic nor is sent there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import CredentialsMissing, UnknownModel
from agent_swarm_worker.providers.pi.spec import KEY_VARIABLES, PiOptions
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.providers.pi.files import AgentFiles

_SHORT_NAMES = ("opus", "sonnet", "haiku", "fable")
BEDROCK_PREFIX = "amazon-bedrock/"


@dataclass(frozen=True, slots=True)
class Credential:
    """One key or token; both empty where the service needs none."""

    key: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    """An OAuth access token."""


def credential(provider: str, env: Mapping[str, str], files: AgentFiles) -> Credential | None:
    """Return what there is for a provider; ``None`` if there is nothing.

    A token of ``auth.json`` that has run out is nothing: only the pi command line renews it.
    """
    options = PiOptions.load(env)
    if key := options.keys.get(provider):
        return Credential(key=key)
    if provider == "anthropic" and options.anthropic_oauth_token:
        return Credential(bearer=options.anthropic_oauth_token)
    return _from_file(files.auth.get(provider, {}), env)


def custom_credential(
    provider: str, entry: Mapping[str, Any], env: Mapping[str, str]
) -> Credential:
    """Return the key that ``models.json`` gives a provider: itself, or a variable's name.

    Raises:
        UnknownModel: the key is to come from a command, which we do not run.
    """
    return Credential(key=_value(provider, entry.get("apiKey"), env))


def require_credential(model: str, env: Mapping[str, str], files: AgentFiles) -> None:
    """Make sure that a session of `model` could log in.

    Raises:
        CredentialsMissing: it could not.
    """
    missing = _missing(model.strip().lower(), env, files)
    if missing:
        raise CredentialsMissing("pi", missing)


def _missing(model: str, env: Mapping[str, str], files: AgentFiles) -> tuple[str, ...]:
    options = PiOptions.load(env)
    mode = options.bedrock_auth_mode
    if mode == "sdk" or (not mode and model.startswith(BEDROCK_PREFIX)):
        return () if options.aws_region else ("AWS_REGION",)
    if files.auth or model.partition("/")[0] in files.providers:
        return ()
    provider = model.partition("/")[0]
    if model in _SHORT_NAMES:
        candidates: tuple[str, ...] = ("anthropic", "openrouter")
    elif "/" in model and provider in KEY_VARIABLES:
        candidates = (provider,)
    elif files.providers:
        return ()
    else:
        candidates = tuple(KEY_VARIABLES)
    if any(credential(name, env, files) for name in candidates):
        return ()
    return tuple(KEY_VARIABLES[name] for name in candidates)


def _from_file(entry: Mapping[str, Any], env: Mapping[str, str]) -> Credential | None:
    if entry.get("type") == "oauth":
        access, expires_ms = entry.get("access"), entry.get("expires")
        is_over = isinstance(expires_ms, int | float) and expires_ms / 1000 <= time.time()
        return Credential(bearer=access) if isinstance(access, str) and not is_over else None
    key = _value("auth.json", entry.get("key"), env)
    return Credential(key=key) if key else None


def _value(owner: str, value: Any, env: Mapping[str, str]) -> str:
    """A key as pi's files write it: literally, or as the name of a variable."""
    if not isinstance(value, str):
        return ""
    if value.startswith("!"):
        raise UnknownModel(owner, "its key is to come from a command; state it, or a variable")
    name = value.removeprefix("$").strip("{}") if value.startswith("$") else value
    return named(env, name, "" if value.startswith("$") else value).strip()
