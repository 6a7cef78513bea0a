"""Resolve a model name to one model, its API, its address and its credential.

A name is never resolved to another model than the requested one; if it cannot be resolved, the
error says why. A credential is sent to its own provider only: a Claude token in the environment
neither selects Anthropic nor is sent there.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agent_swarm_worker.errors import CredentialsMissing, UnknownModel
from agent_swarm_worker.providers import catalog
from agent_swarm_worker.providers.kit.native import count, items, mapping, number, text
from agent_swarm_worker.providers.pi.spec import FAMILIES, KEY_VARIABLES, SPEC, PiOptions
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.providers.pi.files import AgentFiles

Api: TypeAlias = Literal[
    "anthropic-messages", "openai-completions", "openai-responses", "openrouter", "bedrock"
]
BEDROCK = "amazon-bedrock"
_APIS: dict[str, Api] = {
    "anthropic": "anthropic-messages",
    "openai": "openai-responses",
    "openrouter": "openrouter",
}
_CUSTOM_APIS = frozenset({"anthropic-messages", "openai-completions", "openai-responses"})
_BASE_URLS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}

ANTHROPIC_ALIASES = SPEC.models.aliases
OPENROUTER_ALIASES = {
    "fable": "anthropic/claude-fable-5",
    "opus": "anthropic/claude-opus-4.8",
    "sonnet": "anthropic/claude-sonnet-5",
    "haiku": "anthropic/claude-haiku-4.5",
}
"""The same models at OpenRouter, used if there is no Anthropic credential."""
DEFAULT_MODELS = {
    "anthropic": ANTHROPIC_ALIASES["opus"],
    "openrouter": OPENROUTER_ALIASES["opus"],
    "openai": "gpt-5.6-terra",
}
"""Models used if none is requested, by provider; the first one with a credential counts."""

DEFAULT_WINDOW = 200_000
"""Context window of a model that is not in the catalogue."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or a token; both empty if the service needs none."""

    key: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    """An OAuth access token."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, as in ``models.json``."""

    input: float
    output: float
    cache_read: float
    cache_write: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """The model of a session, with its API, address and credential."""

    provider: str
    model: str
    """Its id at the service."""
    api: Api
    base_url: str
    credential: Credential = field(repr=False)
    context_window: int
    max_tokens: int | None = None
    """Limit of one answer, if the operator sets one."""
    price: Price | None = None

    @property
    def name(self) -> str:
        """The full name, ``provider/id``."""
        return f"{self.provider}/{self.model}"


def choose_model(wanted: str, env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    """Resolve a model: a short name, ``provider/id``, an id, or empty for the default.

    Raises:
        UnknownModel: there is no such model.
        CredentialsMissing: there is no credential for it.
    """
    name = wanted.strip()
    if not name:
        return _default(env, files)
    if name.lower() in ANTHROPIC_ALIASES:
        return _alias(name.lower(), env, files)
    provider, slash, model = name.partition("/")
    if not slash:
        return _without_provider(name, env, files)
    if provider in files.providers and provider not in _APIS:
        return _custom(provider, model, env, files)
    if provider in _APIS or provider == BEDROCK:
        return _built_in(provider, model, env, files)
    if credential("openrouter", env, files):  # a vendor's name, as OpenRouter writes models
        return _built_in("openrouter", name, env, files)
    known = sorted({*_APIS, BEDROCK, *files.providers})
    raise UnknownModel(name, f"no provider {provider!r}; there are {', '.join(known)}")


def _default(env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    for provider in ("anthropic", "openrouter", "openai"):
        if credential(provider, env, files):
            return _built_in(provider, DEFAULT_MODELS[provider], env, files)
    for provider in files.providers:
        for model in _models(files, provider):
            return _custom(provider, model, env, files)
    raise CredentialsMissing("pi", tuple(KEY_VARIABLES.values()))


def _alias(name: str, env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    if not credential("anthropic", env, files) and credential("openrouter", env, files):
        return _built_in("openrouter", OPENROUTER_ALIASES[name], env, files)
    return _built_in("anthropic", ANTHROPIC_ALIASES[name], env, files)


def _without_provider(model: str, env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    for provider in files.providers:
        if provider not in _APIS and model in _models(files, provider):
            return _custom(provider, model, env, files)
    vendor = next((vendor for names, vendor in FAMILIES if re.match(names, model)), None)
    if vendor and not credential(vendor, env, files) and credential("openrouter", env, files):
        return _built_in("openrouter", f"{vendor}/{model}", env, files)
    if vendor is None and credential("openai", env, files):
        vendor = "openai"  # the service at OPENAI_BASE_URL may have it
    if vendor is None:
        raise UnknownModel(model, "write it as provider/id")
    return _built_in(vendor, model, env, files)


def _built_in(provider: str, model: str, env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    if not model:
        raise UnknownModel(f"{provider}/", "it has no id")
    if provider == BEDROCK:
        return _choice(provider, model, "bedrock", base_url="", found=Credential(), details={})
    found = credential(provider, env, files)
    if found is None:
        raise CredentialsMissing("pi", (KEY_VARIABLES[provider],))
    entry = files.providers.get(provider, {})
    details = _models(files, provider).get(model, {})
    given = PiOptions.load(env).base_urls[provider] or _string(entry, "baseUrl")
    api = _APIS[provider]
    if provider == "openai" and given:
        # Of the services with OpenAI's API, only OpenAI itself is sure to have the newer one.
        api = _api(provider, entry, details)
    base_url = given or _BASE_URLS[provider]
    return _choice(provider, model, api, base_url=base_url, found=found, details=details)


def _custom(provider: str, model: str, env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    entry = files.providers[provider]
    details = _models(files, provider).get(model)
    if details is None:
        known = ", ".join(_models(files, provider)) or "none"
        raise UnknownModel(f"{provider}/{model}", f"models.json lists {known}")
    base_url = _string(details, "baseUrl") or _string(entry, "baseUrl")
    if not base_url.strip("/"):
        raise UnknownModel(f"{provider}/{model}", "models.json gives it no baseUrl")
    found = credential(provider, env, files)
    if found is None:
        found = Credential(key=key_of(provider, entry.get("apiKey"), env))
    api = _api(provider, entry, details)
    return _choice(provider, model, api, base_url=base_url, found=found, details=details)


def _api(provider: str, entry: Mapping[str, Any], details: Mapping[str, Any]) -> Api:
    name = _string(details, "api") or _string(entry, "api") or "openai-completions"
    if name not in _CUSTOM_APIS:
        raise UnknownModel(provider, f"its api {name!r} is none of {', '.join(_CUSTOM_APIS)}")
    return name  # type: ignore[return-value]  # checked above


def _choice(
    provider: str,
    model: str,
    api: Api,
    *,
    base_url: str,
    found: Credential,
    details: Mapping[str, Any],
) -> ModelChoice:
    base_url = base_url.rstrip("/")
    known_as = model.rpartition(".")[2] if api == "bedrock" else model
    window = catalog.context_window(known_as, SPEC.models) or DEFAULT_WINDOW
    return ModelChoice(
        provider=provider,
        model=model,
        api=api,
        base_url=base_url.removesuffix("/v1") if api == "anthropic-messages" else base_url,
        credential=found,
        context_window=count(details.get("contextWindow")) or window,
        max_tokens=count(details.get("maxTokens")) or None,
        price=_price(mapping(details.get("cost"))),
    )


def _models(files: AgentFiles, provider: str) -> dict[str, Mapping[str, Any]]:
    listed = map(mapping, items(files.providers.get(provider, {}).get("models")))
    return {entry["id"]: entry for entry in listed if isinstance(entry.get("id"), str)}


def _price(cost: Mapping[str, Any]) -> Price | None:
    values = [number(cost.get(name)) for name in ("input", "output", "cacheRead", "cacheWrite")]
    known = [value for value in values if value is not None]
    return Price(*known) if len(known) == len(values) else None


def _string(entry: Mapping[str, Any], name: str) -> str:
    return text(entry.get(name)).strip()


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


def key_of(owner: str, value: Any, env: Mapping[str, str]) -> str:
    """Return a key of pi's files, which is literal or names a variable.

    The output of a command is not supported, and raises `UnknownModel`.
    """
    if not isinstance(value, str):
        return ""
    if value.startswith("!"):
        raise UnknownModel(owner, "its key is to come from a command; state it, or a variable")
    name = value.removeprefix("$").strip("{}") if value.startswith("$") else value
    return named(env, name, "" if value.startswith("$") else value).strip()


def missing_credentials(model: str, env: Mapping[str, str], files: AgentFiles) -> tuple[str, ...]:
    """Return the variables of which `model` needs one, if there is no credential for it."""
    model = model.strip().lower()
    options = PiOptions.load(env)
    mode = options.bedrock_auth_mode
    if mode == "sdk" or (not mode and model.startswith(f"{BEDROCK}/")):
        return () if options.aws_region else ("AWS_REGION",)
    provider = model.partition("/")[0]
    if files.auth or provider in files.providers:
        return ()
    if model in ANTHROPIC_ALIASES:
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
    key = key_of("auth.json", entry.get("key"), env)
    return Credential(key=key) if key else None
