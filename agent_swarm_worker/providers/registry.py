"""Find the installed harnesses: entry points of the group ``agent_swarm_worker.providers``.

Only the chosen adapter is imported, with its optional dependencies. The specifications of all are
(group ``agent_swarm_worker.specs``); they import nothing but the contract.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    ProviderTraits,
    Skills,
)
from agent_swarm_worker.errors import SwarmWorkerError, UnknownProvider, UnusableProvider
from agent_swarm_worker.settings import HarnessOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

    from agent_swarm_worker.contract import ProviderAdapter

GROUP = "agent_swarm_worker.providers"
SPECS = "agent_swarm_worker.specs"
DEFAULT_HARNESS = "claude"
"""The default harness, and the wire name of a harness that the server does not know."""


def supported_providers() -> tuple[str, ...]:
    """Return the valid names for ``HARNESS_PROVIDER``, sorted."""
    return tuple(sorted(_entries()))


def create_provider(name: str) -> ProviderAdapter:
    """Import and make the adapter of one harness. Raises `UnknownProvider`, `UnusableProvider`."""
    entries = _entries()
    if name not in entries:
        raise UnknownProvider(name, sorted(entries))
    try:
        return cast("Callable[[], ProviderAdapter]", entries[name].load())()
    except SwarmWorkerError:
        raise
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        why = str(error) or type(error).__name__
        raise UnusableProvider(name, distribution_of(name), why) from error


def installed_options() -> dict[str, type[HarnessOptions]]:
    """Return the options models of the installed harnesses, by name.

    One that is no `HarnessOptions` is left out; choosing that harness raises an error.
    """
    return {
        spec.name: spec.options
        for spec in known_specs()
        if spec.options is not None and issubclass(spec.options, HarnessOptions)
    }


def distribution_of(name: str) -> str:
    """Return the name and version of a provider's distribution."""
    entry = _entries().get(name)
    dist = entry.dist if entry else None
    return f"{dist.name} {dist.version}" if dist else "unknown"


def spec_of(name: str) -> HarnessSpec:
    """Return the spec of an installed harness; an empty one if it cannot be loaded."""
    entry = _entries(SPECS).get(name) or _entries().get(name)
    return _loaded(name, entry) or HarnessSpec(name=name)


def known_specs() -> tuple[HarnessSpec, ...]:
    """Return the specs of all installed harnesses, by name; one that cannot be loaded is skipped.

    The adapter of a provider without an entry point for its spec is imported.
    """
    entries = _entries()
    entries |= {name: entry for name, entry in _entries(SPECS).items() if name in entries}
    found = (_loaded(name, entry) for name, entry in sorted(entries.items()))
    return tuple(spec for spec in found if spec is not None)


def adapter_spec(adapter: ProviderAdapter) -> HarnessSpec:
    """Return an adapter's spec; for the previous contract one is made of its ``traits``."""
    name = str(getattr(adapter, "name", ""))
    return _spec_in(name, adapter) or HarnessSpec(name=name)


def part_of(spec: HarnessSpec, reference: str) -> Any:
    """Import an object that a spec names as ``module:attribute``; raises `UnusableProvider`."""
    try:
        return imported(reference)
    except Exception as error:  # foreign code may raise anything
        why = f"{reference}: {error}"
        raise UnusableProvider(spec.name, distribution_of(spec.name), why) from error


def imported(reference: str) -> Any:
    """Import the object ``module:attribute``; raises any error of the import."""
    module, _, attribute = reference.partition(":")
    found: Any = import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return found


def _loaded(name: str, entry: EntryPoint | None) -> HarnessSpec | None:
    if entry is None:
        return None
    try:
        spec = _spec_in(name, entry.load())
        if spec is not None and spec.options is not None:
            spec.options.variables()  # raises if the model is invalid
    except (Exception, SystemExit):  # foreign code; choosing this harness raises the error
        return None
    return spec


def _spec_in(name: str, found: object) -> HarnessSpec | None:
    if isinstance(found, HarnessSpec):
        return found
    spec = getattr(found, "spec", None)
    if isinstance(spec, HarnessSpec):
        return spec
    traits = getattr(found, "traits", None)
    return _of_traits(name, traits) if isinstance(traits, ProviderTraits) else None


def _of_traits(name: str, traits: ProviderTraits) -> HarnessSpec:
    return HarnessSpec(
        name=name,
        wire_name=traits.wire_name or "",
        credentials=Credentials(variables=traits.needs_credential),
        skills=Skills(native_discovery=traits.native_skill_discovery),
        capabilities=Capabilities(
            steer_modes=traits.steer_modes,
            can_resume=True,
            mcp_transports=("http", "sse", "stdio") if traits.has_mcp else (),
            has_local_environment=traits.has_local_environment,
        ),
    )


def _entries(group: str = GROUP) -> dict[str, EntryPoint]:
    found = _installed(group, tuple((place, _changed_at_ns(place)) for place in sys.path))
    # Of two with the same name the first on the path counts, as with imports.
    return {entry.name: entry for entry in reversed(found)}


@lru_cache(maxsize=8)
def _installed(group: str, _path: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """Read the metadata of all distributions; again when a directory of the path has changed."""
    return tuple(entry_points(group=group))


def _changed_at_ns(place: str) -> int:
    try:
        return Path(place or ".").stat().st_mtime_ns
    except (OSError, ValueError):
        return 0
