"""``swarm-worker version``: print the version."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from agent_swarm_worker import __version__
from agent_swarm_worker.cli.output import print_json, print_line

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the version."""
    if args.json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print_line(f"swarm-worker v{__version__}")
    return 0
