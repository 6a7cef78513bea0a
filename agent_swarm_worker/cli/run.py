"""``swarm-worker run``, ``worker`` and ``lead``: run the daemon."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import first_error
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.prompts.system import operator_prompt
from agent_swarm_worker.settings import Settings, process_env
from agent_swarm_worker.worker.boot.parts import WorkerOptions
from agent_swarm_worker.worker.daemon import Daemon

if TYPE_CHECKING:
    import argparse

GC_THRESHOLD = 5_000
"""New objects after which the youngest generation is collected."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; what follows ``--`` goes to the harness."""
    if parser.prog.endswith("run"):
        parser.add_argument("--role", choices=["worker", "lead"], help="default: AGENT_ROLE")
    parser.add_argument(
        "-m",
        "--msg",
        default="",
        help="prompt for triggers of unknown kinds; default: ignore them",
    )
    parser.add_argument("--yolo", action="store_true", help="as YOLO=true")
    parser.add_argument("--system-prompt", help="appended to the system prompt")
    parser.add_argument("--system-prompt-file", type=Path, help="the same, from a file")


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it shuts down."""
    env = dict(process_env())
    if args.yolo:
        env["YOLO"] = "true"
    settings = Settings.load(env)
    scrubber = Scrubber()
    logs.configure(level=settings.log_level, human=settings.human_logs, scrub=scrubber.text)
    role = {"worker": "worker", "lead": "lead"}.get(args.command) or args.role
    options = WorkerOptions(
        role=role or settings.agent_role,
        default_prompt=args.msg,
        operator_prompt=_operator_prompt(args, settings),
        additional_args=args.passed_on,
    )
    daemon = Daemon(env, options, scrubber=scrubber)
    # A chunk of output is some thousand small objects that live until it is translated. With
    # Python's default threshold of 700 each chunk would trigger a collection.
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        anyio.run(daemon.run)
    except BaseExceptionGroup as group:
        raise first_error(group) from None
    finally:
        logs.flush()
    return 0


def _operator_prompt(args: argparse.Namespace, settings: Settings) -> str | None:
    """Return ``--system-prompt``, or the content of ``--system-prompt-file``.

    ``None`` without these, or if ``SYSTEM_PROMPT`` is set: the settings then apply, which the
    swarm's configuration may change at any time.

    Raises:
        UnreadableFile: the file cannot be read.
    """
    if args.system_prompt is not None:
        return str(args.system_prompt)
    if args.system_prompt_file is None or settings.system_prompt:
        # An unreadable file of the settings must fail the start, not the first task.
        operator_prompt(settings)
        return None
    return operator_prompt(
        settings.model_copy(update={"system_prompt_file": args.system_prompt_file})
    )
