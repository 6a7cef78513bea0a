"""``swarm-worker providers``: the harnesses that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import print_json, print_table
from agent_swarm_worker.errors import SwarmWorkerError, UnusableProvider
from agent_swarm_worker.providers.registry import (
    adapter_spec,
    create_provider,
    distribution_of,
    supported_providers,
)
from agent_swarm_worker.settings import process_env
from agent_swarm_worker.worker.credentials import lent_to

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List each harness, whether it could start now, and where it comes from."""
    logs.configure(level="error")
    rows = [_describe(name) for name in supported_providers()]
    if args.json:
        print_json(rows)
        return 0
    print_table(
        ["HARNESS", "READY", "FROM", "WHAT IS MISSING"],
        [
            [str(row["name"]), "yes" if row["ready"] else "no", str(row["from"]), str(row["why"])]
            for row in rows
        ],
    )
    return 0


def what_is_missing(name: str, env: Mapping[str, str]) -> SwarmWorkerError | None:
    """Return why no session of this harness could start with `env`, or nothing."""
    try:
        adapter = create_provider(name)
        adapter.check(lent_to(adapter_spec(adapter), env))
    except SwarmWorkerError as error:
        return error
    except Exception as error:  # one that breaks its promise is of no use either
        return UnusableProvider(name, distribution_of(name), repr(error))
    return None


def _describe(name: str) -> dict[str, str | bool]:
    missing = what_is_missing(name, process_env())
    return {
        "name": name,
        "ready": missing is None,
        "from": distribution_of(name),
        "why": str(missing or ""),
    }
