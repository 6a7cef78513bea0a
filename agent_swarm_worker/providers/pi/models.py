"""Resolve a model name to one model, its API, its address and its credential.

A name is never resolved to another model than the requested one; if it cannot be resolved, the
error says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agent_swarm_worker.errors import CredentialsMissing, UnknownModel
from agent_swarm_worker.providers import catalog
from agent_swarm_worker.providers.pi.credentials import Credential, credential, custom_credential
from agent_swarm_worker.providers.pi.spec import KEY_VARIABLES, SPEC, PiOptions

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
_CUSTOM_APIS: frozenset[str] = frozenset(
    {"anthropic-messages", "openai-completions", "openai-responses"}
)
_BASE_URLS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}

ANTHROPIC_ALIASES = SPEC.models.aliases
"""Short names at Anthropic."""
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
_VENDORS = (
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"(?:gpt-|chatgpt-|codex-|o\d)"), "openai"),
)


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
    """Resolve a model.

    Args:
        wanted: a short name, ``provider/id``, an id, or empty for the default.
        env: the session's environment.
        files: the files of the agent directory.

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
    vendor = vendor_of(model)
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
        return ModelChoice(
            provider=provider,
            model=model,
            api="bedrock",
            base_url="",
            credential=Credential(),
            context_window=context_window(model.rpartition(".")[2]),
        )
    found = credential(provider, env, files)
    if found is None:
        raise CredentialsMissing("pi", (KEY_VARIABLES[provider],))
    entry = files.providers.get(provider, {})
    details = _models(files, provider).get(model, {})
    given = PiOptions.load(env).base_urls[provider] or _string(entry, "baseUrl")
    base_url = (given or _BASE_URLS[provider]).rstrip("/")
    api = _APIS[provider]
    if provider == "openai" and given:
        # Of the services with OpenAI's API, only OpenAI itself is sure to have the newer one.
        api = _api(provider, entry, details, default="openai-completions")
    if provider == "anthropic":
        base_url = base_url.removesuffix("/v1")
    return _choice(provider, model, api=api, base_url=base_url, found=found, details=details)


def _custom(provider: str, model: str, env: Mapping[str, str], files: AgentFiles) -> ModelChoice:
    entry = files.providers[provider]
    details = _models(files, provider).get(model)
    if details is None:
        known = ", ".join(_models(files, provider)) or "none"
        raise UnknownModel(f"{provider}/{model}", f"models.json lists {known}")
    base_url = (_string(details, "baseUrl") or _string(entry, "baseUrl")).rstrip("/")
    if not base_url:
        raise UnknownModel(f"{provider}/{model}", "models.json gives it no baseUrl")
    api = _api(provider, entry, details, default="openai-completions")
    if api == "anthropic-messages":
        base_url = base_url.removesuffix("/v1")
    found = credential(provider, env, files) or custom_credential(provider, entry, env)
    return _choice(provider, model, api=api, base_url=base_url, found=found, details=details)


def _api(
    provider: str, entry: Mapping[str, Any], details: Mapping[str, Any], *, default: Api
) -> Api:
    name = _string(details, "api") or _string(entry, "api") or default
    if name not in _CUSTOM_APIS:
        raise UnknownModel(provider, f"its api {name!r} is none of {', '.join(_CUSTOM_APIS)}")
    return name  # type: ignore[return-value]  # checked above


def _choice(
    provider: str,
    model: str,
    *,
    api: Api,
    base_url: str,
    found: Credential,
    details: Mapping[str, Any],
) -> ModelChoice:
    return ModelChoice(
        provider=provider,
        model=model,
        api=api,
        base_url=base_url,
        credential=found,
        context_window=_count(details.get("contextWindow")) or context_window(model),
        max_tokens=_count(details.get("maxTokens")),
        price=_price(details.get("cost")),
    )


def _models(files: AgentFiles, provider: str) -> dict[str, Mapping[str, Any]]:
    listed = files.providers.get(provider, {}).get("models")
    entries = listed if isinstance(listed, list) else []
    return {
        entry["id"]: entry
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    }


def _price(cost: Any) -> Price | None:
    if not isinstance(cost, dict):
        return None
    values = [cost.get(name) for name in ("input", "output", "cacheRead", "cacheWrite")]
    known = [value for value in values if isinstance(value, int | float) and value >= 0]
    return Price(*known) if len(known) == len(values) else None


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else None


def _string(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value.strip() if isinstance(value, str) else ""


def context_window(model: str) -> int:
    """Return the context window of a model in tokens."""
    return catalog.context_window(model, SPEC.models) or DEFAULT_WINDOW


def vendor_of(model: str) -> str | None:
    """Return the vendor of a model id without a provider, if its name shows it."""
    return next((vendor for name, vendor in _VENDORS if name.match(model)), None)
