"""Run a ``swarm-worker`` command; print its error as one line and return the exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO, cast

from agent_swarm_worker import __version__
from agent_swarm_worker.cli.output import notice, print_line, write
from agent_swarm_worker.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_USAGE,
    OutputLost,
    SwarmWorkerError,
    UsageError,
)
from agent_swarm_worker.imports import gc_disabled
from agent_swarm_worker.processes.signals import reset_inherited

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Command(NamedTuple):
    module: str
    summary: str
    passes_on: bool = False
    """Arguments after ``--`` are for another program: the harness, or a command to run."""


class _CommandModule(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


# Only the module of the chosen command is imported, for start time and memory.
COMMANDS = {
    "run": _Command("run", "run the daemon for the role in AGENT_ROLE (or --role)", True),
    "worker": _Command("run", "run the daemon as a worker", True),
    "lead": _Command("run", "run the daemon as a lead", True),
    "demo": _Command("demo", "local swarm, worker and one task, with a live view"),
    "local": _Command("local", "serve a local swarm for this machine"),
    "task": _Command("task", "submit, follow, cancel, list or show tasks"),
    "login": _Command("login", "log in with ChatGPT for the codex harnesses of the swarm"),
    "logout": _Command("login", "remove such a login from the swarm"),
    "flush": _Command("flush", "deliver what a worker that is gone has left undelivered"),
    "doctor": _Command("doctor", "check settings, API, credentials, binaries and disk"),
    "prepare": _Command("prepare", "make a container ready, then run a command in it", True),
    "health": _Command("health", "say whether the worker of this machine lives"),
    "providers": _Command("providers", "list the harnesses that are installed"),
    "harness-profiles": _Command("harness_profiles", "list, explain or check harness profiles"),
    "tools": _Command("tools", "check a file of the operator's own tools"),
    "conformance": _Command("conformance", "see whether a harness keeps the contract's promises"),
    "version": _Command("version", "print the version"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _prepare_streams()
    reset_inherited()
    try:
        exit_code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        write("")  # flush what argparse printed
    except OutputLost as error:
        return EXIT_BROKEN_PIPE if error.reader_left else _fail(error)
    except SwarmWorkerError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130
    else:
        return exit_code
    finally:
        _discard_unwritten(sys.stdout)
        _discard_unwritten(sys.stderr)


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["help"] and len(argv) > 1:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in {"help", "-h", "--help"}:
        print_line(_usage())
        return 0
    name, rest = argv[0], argv[1:]
    if name in {"-V", "--version"}:
        name = "version"
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}; `swarm-worker help` lists them")
    return _run(name, rest)


def _run(name: str, argv: list[str]) -> int:
    command = COMMANDS[name]
    with gc_disabled():
        module = cast("_CommandModule", import_module(f"agent_swarm_worker.cli.{command.module}"))
    parser = argparse.ArgumentParser(prog=f"swarm-worker {name}", description=command.summary)
    module.add_arguments(parser)
    own, passed_on = _split_at_dashes(argv) if command.passes_on else (argv, ())
    try:
        args = parser.parse_args(own)
    except SystemExit as done:  # argparse has printed the help, or the error
        return EXIT_USAGE if done.code else 0
    args.command, args.passed_on = name, passed_on
    return module.run(args)


def _split_at_dashes(argv: list[str]) -> tuple[list[str], tuple[str, ...]]:
    if "--" not in argv:
        return argv, ()
    index = argv.index("--")
    return argv[:index], tuple(argv[index + 1 :])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        f"swarm-worker {__version__}: lets any coding agent work for a swarm\n\n"
        f"usage: swarm-worker COMMAND [options]\n\n{lines}\n\n"
        "`swarm-worker COMMAND --help` explains one; `swarm-worker doctor` says what is missing."
    )


def _fail(error: SwarmWorkerError) -> int:
    advice = f"\n  {error.advice}" if error.advice else ""
    message = " ".join(str(error).split())  # a server's message may have several lines
    notice(f"swarm-worker: {message}{advice}")
    return error.exit_code


def _prepare_streams() -> None:
    """Open closed standard streams: the next file opened would get the descriptor of one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - stays open
            setattr(sys, name, null)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _discard_unwritten(stream: TextIO) -> None:
    """Discard unwritable output: Python would report it at exit and change the exit code."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
