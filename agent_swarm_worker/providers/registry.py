"""Which harnesses there are: entry points of the group ``agent_swarm_worker.providers``.

A provider in another distribution registers itself the same way as ours. Only the chosen one is
imported, so its optional dependencies cost nothing to the others.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from agent_swarm_worker.errors import SwarmWorkerError, UnknownProvider, UnusableProvider
from agent_swarm_worker.settings import HarnessOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

    from agent_swarm_worker.contract import ProviderAdapter

GROUP = "agent_swarm_worker.providers"


def supported_providers() -> tuple[str, ...]:
    """Return the names ``HARNESS_PROVIDER`` may have, sorted."""
    return tuple(sorted(_entries()))


def create_provider(name: str) -> ProviderAdapter:
    """Import and make the adapter of one harness.

    Raises:
        UnknownProvider: no such entry point; names the supported ones.
        UnusableProvider: its code cannot be loaded.
    """
    entries = _entries()
    if name not in entries:
        raise UnknownProvider(name, sorted(entries))
    try:
        return cast("Callable[[], ProviderAdapter]", entries[name].load())()
    except SwarmWorkerError:
        raise
    except Exception as error:  # other people's code: anything may be wrong with it
        why = str(error) or type(error).__name__
        raise UnusableProvider(name, distribution_of(name), why) from error


def installed_options() -> dict[str, type[HarnessOptions]]:
    """Return the options models of the installed harnesses, by name.

    A harness declares them in a module ``options`` beside the module of its adapter, so that they
    are known without importing the adapter. One whose module cannot be imported is left out:
    choosing that harness says why.
    """
    found: dict[str, type[HarnessOptions]] = {}
    for name, entry in sorted(_entries().items()):
        place = f"{entry.module.rpartition('.')[0]}.options"
        try:
            module = import_module(place)
        except Exception:  # noqa: S112 - other people's code: anything may be wrong with it
            continue
        for model in vars(module).values():
            if isinstance(model, type) and model.__module__ == place and _is_options(model):
                found[name] = model  # of several the last one: a model follows those it extends
    return found


def distribution_of(name: str) -> str:
    """Return the distribution a provider comes from, with its version."""
    dist = _entries()[name].dist
    return f"{dist.name} {dist.version}" if dist else "unknown"


def _is_options(model: type) -> bool:
    return issubclass(model, HarnessOptions)


def _entries() -> dict[str, EntryPoint]:
    # Of two that share a name the first on the path counts, as with imports.
    return {entry.name: entry for entry in reversed(tuple(entry_points(group=GROUP)))}
