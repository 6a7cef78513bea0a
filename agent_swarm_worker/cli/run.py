"""``swarm-worker run``, ``worker`` and ``lead``: run the daemon."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.aio import first_error
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.imports import import_in_thread
from agent_swarm_worker.settings import Settings, process_env
from agent_swarm_worker.worker.boot.connection import connect
from agent_swarm_worker.worker.loops.run_policy import Shutdown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

GC_THRESHOLD = 5_000
"""New objects after which the youngest generation is collected."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; what follows ``--`` goes to the harness."""
    if parser.prog.endswith("run"):
        parser.add_argument("--role", help="lead, worker or a worker's own; default: AGENT_ROLE")
    parser.add_argument(
        "-m", "--msg", default="", help="prompt for triggers of unknown kinds; default: ignore them"
    )
    parser.add_argument("--yolo", action="store_true", help="as YOLO=true")
    parser.add_argument("--system-prompt", help="appended to the system prompt")
    parser.add_argument("--system-prompt-file", type=Path, help="the same, from a file")


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it shuts down."""
    env = dict(process_env())
    if args.yolo:
        env["YOLO"] = "true"
    if args.command == "run" and args.role is not None:
        env["AGENT_ROLE"] = args.role
    elif args.command == "lead":
        env["AGENT_ROLE"] = "lead"
    settings = Settings.load(env)
    scrubber = Scrubber()
    logs.configure(level=settings.log_level, human=settings.human_logs, scrub=scrubber.text)
    # A chunk of output is some thousand small objects that live until it is translated. With
    # Python's default threshold of 700 each chunk would trigger a collection.
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    prompt = _operator_prompt(args, settings)
    try:
        anyio.run(_run, args, env, settings, scrubber, prompt)
    except BaseExceptionGroup as group:
        raise first_error(group) from None
    return 0


async def _run(
    args: argparse.Namespace,
    env: Mapping[str, str],
    settings: Settings,
    scrubber: Scrubber,
    prompt: str | None,
) -> None:
    """Send the first request, import the daemon while the API answers, and run it."""
    connection = connect(settings, clock=SystemClock(), ids=random_ids, log=logs.Log())
    shutdown = Shutdown(log=logs.Log())
    async with connection.http, anyio.create_task_group() as group:
        group.start_soon(shutdown.watch_signals)
        group.start_soon(connection.send_first_request)
        await import_in_thread("agent_swarm_worker.worker.daemon")
        from agent_swarm_worker.worker.boot.parts import WorkerOptions  # noqa: PLC0415
        from agent_swarm_worker.worker.daemon import Daemon  # noqa: PLC0415

        options = WorkerOptions(
            role=_role(args.command, settings.agent_role),
            default_prompt=args.msg,
            operator_prompt=prompt,
            additional_args=args.passed_on,
        )
        daemon = Daemon(env, options, scrubber=scrubber, connection=connection, shutdown=shutdown)
        await daemon.run()
        group.cancel_scope.cancel()


def _role(command: str, role: str) -> str:
    """Return the role of the command ``lead`` or ``worker``; a worker keeps a name of its own."""
    if command == "worker" and role == "lead":
        return "worker"
    return "lead" if command == "lead" else role


def _operator_prompt(args: argparse.Namespace, settings: Settings) -> str | None:
    """Return the prompt of the options; ``None`` if that of the settings applies."""
    if args.system_prompt is not None:
        return str(args.system_prompt)
    if args.system_prompt_file is None and settings.system_prompt_file is None:
        return None
    from agent_swarm_worker.prompts.system import operator_prompt  # noqa: PLC0415

    if args.system_prompt_file is None or settings.system_prompt:
        # An unreadable file of the settings must fail the start, not the first task.
        operator_prompt(settings)
        return None
    return operator_prompt(
        settings.model_copy(update={"system_prompt_file": args.system_prompt_file})
    )
