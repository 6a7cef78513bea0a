"""``swarm-worker local``: serve a local swarm for this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import run_until_signal
from agent_swarm_worker.cli.output import notice
from agent_swarm_worker.errors import MissingExtra
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.settings import Settings, process_env

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.serve import LocalSwarm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve the swarm API from one SQLite file. For one machine: trying things out, tests, CI."
    )
    parser.add_argument("--port", type=_port, default=3013, help="default: 3013; 0 = any free one")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--db", default="swarm-local.sqlite", help="file, or :memory:")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    settings = Settings.load(process_env())
    logs.configure(level=settings.log_level, human=settings.human_logs)
    return run_until_signal(_serve, args, settings.api_key)


async def _serve(args: argparse.Namespace, api_key: str) -> int:
    swarm_type = load_local_swarm("swarm-worker local")
    async with swarm_type(args.db, api_key, args.host, args.port) as swarm:
        Log().info(Event.LOCAL_READY, url=swarm.url, db=args.db)
        notice(
            "This swarm is for one machine: one process, one file, no accounts.\n"
            f"Clients set MCP_BASE_URL={swarm.url} and API_KEY to the same key as here."
        )
        await anyio.sleep_forever()
    return 0


def load_local_swarm(feature: str) -> type[LocalSwarm]:
    """Import the local swarm; `MissingExtra` names `feature` if its packages are not installed."""
    try:
        from agent_swarm_worker.local_swarm.serve import LocalSwarm  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        raise MissingExtra(feature, "local") from error
    return LocalSwarm


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not between 0 and 65535")
    return port
