"""``swarm-worker providers``: the harnesses that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

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
from agent_swarm_worker.worker.sandbox import check_harness, make_sandbox

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List each harness, whether it could start now, and where it comes from."""
    logs.configure(level="error")
    rows = anyio.run(_describe_all)
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


async def what_is_missing(name: str, env: Mapping[str, str]) -> SwarmWorkerError | None:
    """Return why no session of this harness could start with `env`, or nothing."""
    try:
        adapter = create_provider(name)
        await check_harness(make_sandbox(), adapter, lent_to(adapter_spec(adapter), env))
    except SwarmWorkerError as error:
        return error
    except Exception as error:  # one that breaks its promise is of no use either
        return UnusableProvider(name, distribution_of(name), repr(error))
    return None


async def _describe_all() -> list[dict[str, str | bool]]:
    return [await _describe(name) for name in supported_providers()]


async def _describe(name: str) -> dict[str, str | bool]:
    missing = await what_is_missing(name, process_env())
    return {
        "name": name,
        "ready": missing is None,
        "from": distribution_of(name),
        "why": str(missing or ""),
    }
