"""Find the credential of a model provider, in the session's environment or the agent directory.

A credential is sent to its own provider only: a Claude token in the environment neither selects
Anthropic nor is sent there.
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
    """A key or a token; both empty if the service needs none."""

    key: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    """An OAuth access token."""


def credential(provider: str, env: Mapping[str, str], files: AgentFiles) -> Credential | None:
    """Return the credential for a provider; ``None`` if there is none.

    An expired token in ``auth.json`` is ignored: only the pi command line renews it.
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
    """Return the key that ``models.json`` has for a provider, literally or as a variable's name.

    Raises:
        UnknownModel: the key is the output of a command, which is not supported.
    """
    return Credential(key=_value(provider, entry.get("apiKey"), env))


def require_credential(model: str, env: Mapping[str, str], files: AgentFiles) -> None:
    """Check that there is a credential for `model`.

    Raises:
        CredentialsMissing: there is none.
    """
    missing = _missing_variables(model.strip().lower(), env, files)
    if missing:
        raise CredentialsMissing("pi", missing)


def _missing_variables(model: str, env: Mapping[str, str], files: AgentFiles) -> tuple[str, ...]:
    options = PiOptions.load(env)
    mode = options.bedrock_auth_mode
    if mode == "sdk" or (not mode and model.startswith(BEDROCK_PREFIX)):
        return () if options.aws_region else ("AWS_REGION",)
    provider = model.partition("/")[0]
    if files.auth or provider in files.providers:
        return ()
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
    """Return a key of pi's files, which is literal or names a variable."""
    if not isinstance(value, str):
        return ""
    if value.startswith("!"):
        raise UnknownModel(owner, "its key is to come from a command; state it, or a variable")
    name = value.removeprefix("$").strip("{}") if value.startswith("$") else value
    return named(env, name, "" if value.startswith("$") else value).strip()
