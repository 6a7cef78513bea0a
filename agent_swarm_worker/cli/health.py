"""``swarm-worker health``: print whether the worker is alive, for a container's health check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import print_line
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.settings import Settings, process_env
from agent_swarm_worker.state.liveness import Liveness, look

if TYPE_CHECKING:
    import argparse

MAX_AGE_S = 60.0
API_LIMIT_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-age-s",
        type=float,
        default=MAX_AGE_S,
        help=f"how long the worker may have been silent; default: {MAX_AGE_S:g}",
    )
    parser.add_argument("--api", action="store_true", help="ask whether the swarm API answers")


def run(args: argparse.Namespace) -> int:
    """Return 0 if a worker of the state directory is alive, else 1."""
    logs.configure(level="error")
    settings = Settings.load(process_env())
    if args.api:
        return _api(settings)
    root = settings.state_root()
    found = look(root, settings.agent_id, now_epoch_s=time.time())
    living = [worker for worker in found if worker.is_alive(args.max_age_s)]
    for worker in living or found:
        print_line(_describe(worker, is_alive=bool(living)))
    if not found:
        print_line(f"not alive: no worker has ever run with {root}")
    return 0 if living else 1


def _describe(worker: Liveness, *, is_alive: bool) -> str:
    if is_alive:
        return f"alive: process {worker.pid}, {worker.age_s:.0f} s ago"
    if worker.pid is None:
        return f"not alive: no worker has ever run in {worker.path}"
    if not worker.exists:
        return f"not alive: process {worker.pid} is gone"
    if worker.age_s is None:
        return f"not alive: process {worker.pid} has not begun"
    return f"not alive: process {worker.pid} was last heard of {worker.age_s:.0f} s ago"


def _api(settings: Settings) -> int:
    from agent_swarm_worker.cli.connect import (  # noqa: PLC0415 - slow, and only for this
        connected,
        run_until_signal,
    )

    async def ask() -> int:
        async with connected(settings) as client:
            try:
                await client.resources.health(timeout_s=API_LIMIT_S)
            except ApiError as error:
                print_line(f"not alive: {error}")
                return 1
            print_line(f"alive: {client.http.shown_url}")
            return 0

    return run_until_signal(ask)
