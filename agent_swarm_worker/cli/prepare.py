"""``swarm-worker prepare``: prepare a container, drop root privileges, then exec a command."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import notice
from agent_swarm_worker.cli.view import EarlyLogSettings
from agent_swarm_worker.container.prepare import Preparation, prepare_offline
from agent_swarm_worker.errors import ContainerError, ScriptFailed
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.settings import process_env

if TYPE_CHECKING:
    import argparse

DAEMON = ("run", "worker", "lead")
EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE = 127, 126


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; what follows ``--`` is the command."""
    parser.usage = "swarm-worker prepare [--user NAME] [--offline] [-- COMMAND [ARGUMENT …]]"
    parser.add_argument(
        "--user",
        default="worker",
        help="whose rights to take on, if started with root's; default: worker",
    )
    parser.add_argument(
        "--offline", action="store_true", help="only what needs no API: ownership and rights"
    )


def run(args: argparse.Namespace) -> int:
    """Prepare; return only without a command, or if it cannot be executed."""
    env = dict(process_env())
    scrubber = Scrubber()
    scrubber.add_env(env)
    early = EarlyLogSettings.load(env)
    human = {"human": True, "json": False}.get(early.log_format)
    logs.configure(level=early.log_level, human=human, scrub=scrubber.text)
    command = list(args.passed_on)
    try:
        if args.offline:
            exported = own = prepare_offline(env, user=args.user)
        else:
            preparation = Preparation(env, user=args.user, scrubber=scrubber)
            exported = preparation.run()
            own = preparation.environment
    except ContainerError as error:
        notice(scrubber.text(f"[entrypoint] FATAL: {error}; exiting."))
        return error.code if isinstance(error, ScriptFailed) else error.exit_code
    if not command:
        return 0
    return _exec(command, own if _is_daemon(command) else exported)


def _is_daemon(command: list[str]) -> bool:
    """Return whether the command is the worker, which must not inherit configuration rows."""
    is_ours = Path(command[0]).name in {"agent-swarm", "agent-swarm-worker", "swarm-worker"}
    return is_ours and len(command) > 1 and command[1] in DAEMON


def _exec(command: list[str], env: dict[str, str]) -> int:
    # Python ignores these two, and the command would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - replaces this process
    except OSError as error:
        notice(f"[entrypoint] FATAL: cannot run {command[0]}: {error.strerror}; exiting.")
        missing = isinstance(error, FileNotFoundError)
        return EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
