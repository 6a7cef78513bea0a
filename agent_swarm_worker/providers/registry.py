"""Which harnesses there are: entry points of the group ``agent_swarm_worker.providers``.

A provider in another distribution registers itself the same way as ours. Only the chosen one is
imported, so its optional dependencies cost nothing to the others.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from agent_swarm_worker.errors import SwarmWorkerError, UnknownProvider, UnusableProvider

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


def distribution_of(name: str) -> str:
    """Return the distribution a provider comes from, with its version."""
    dist = _entries()[name].dist
    return f"{dist.name} {dist.version}" if dist else "unknown"


def _entries() -> dict[str, EntryPoint]:
    # Of two that share a name the first on the path counts, as with imports.
    return {entry.name: entry for entry in reversed(tuple(entry_points(group=GROUP)))}
