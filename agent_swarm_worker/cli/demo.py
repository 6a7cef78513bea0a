"""``swarm-worker demo``: run a local swarm, a worker and one task in one process.

The task goes to the default harness if it is usable, else to a harness with a scripted model. All
files are in a temporary directory, which is removed.
"""

from __future__ import annotations

import secrets
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import connected, run_until_signal
from agent_swarm_worker.cli.follow import Follower
from agent_swarm_worker.cli.local import load_local_swarm
from agent_swarm_worker.cli.providers import missing_requirement
from agent_swarm_worker.cli.task import show_end
from agent_swarm_worker.cli.view import View
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.harness_profiles.names import HarnessProfileSettings
from agent_swarm_worker.providers.registry import (
    DEFAULT_HARNESS,
    imported,
    installed_options,
    known_specs,
    spec_of,
)
from agent_swarm_worker.settings import ModelSettings, Settings, SettingsModel, process_env
from agent_swarm_worker.worker.boot.parts import WorkerOptions
from agent_swarm_worker.worker.daemon import Daemon

if TYPE_CHECKING:
    import argparse
    import socket
    from collections.abc import AsyncIterator

    from agent_swarm_worker.api.client import SwarmClient

SCRIPTED_TASK = "Look around in your working directory and leave a note."
REAL_TASK = (
    "List the files in your working directory with one shell command, then say hello to the swarm"
    " in one short sentence. Nothing else."
)
INHERITED = frozenset({"HOME", "XDG_STATE_HOME"})
"""Variables of the worker that the demo's worker inherits; the others would change it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave swarm and worker up afterwards")
    parser.add_argument(
        "--scripted",
        action="store_true",
        help="use the scripted model, even if the default harness is usable",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the worker's log, too")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return 0 if the task completed."""
    scrubber = Scrubber()
    logs.configure(level="info" if args.verbose else "error", scrub=scrubber.text)
    return run_until_signal(_in_temporary_directory, args, scrubber)


async def _in_temporary_directory(args: argparse.Namespace, scrubber: Scrubber) -> int:
    with tempfile.TemporaryDirectory(prefix="swarm-demo-") as directory:
        return await _demo(args, Path(directory), scrubber)


async def _demo(args: argparse.Namespace, directory: Path, scrubber: Scrubber) -> int:
    swarm_type = load_local_swarm("swarm-worker demo")
    key = secrets.token_urlsafe(24)
    missing = await missing_requirement(DEFAULT_HARNESS, process_env())
    is_real = not args.scripted and missing is None
    with View(has_status_line=not args.verbose) as view:
        async with AsyncExitStack() as stack:
            swarm = await stack.enter_async_context(
                swarm_type(db=directory / "swarm.sqlite", api_key=key)
            )
            if is_real:
                spec, harness = spec_of(DEFAULT_HARNESS), _cheapest_model()
            else:
                spec = next(spec for spec in known_specs() if spec.demo)
                served = imported(spec.demo)(directory / "agent", _served)
                harness = await stack.enter_async_context(served)
            harness = {"HARNESS_PROVIDER": spec.name, **harness}
            _introduce(view, swarm.url, spec.name, is_real=is_real, is_asked=args.scripted)
            env = _environment(directory, swarm.url, key, harness)
            daemon = Daemon(env, WorkerOptions(), scrubber=scrubber, handles_signals=False)
            async with anyio.create_task_group() as group:
                await group.start(daemon.run)
                view.say("•", "the worker polls; submitting a task")
                async with connected(Settings.load(env)) as client:
                    task_text = REAL_TASK if is_real else SCRIPTED_TASK
                    exit_code = await _one_task(client, view, directory, task_text)
                if args.keep:
                    await _keep(view, swarm.url, key)
                daemon.shutdown.request("the demo is over")
        view.say("•", "worker and swarm are down; nothing is left behind")
    return exit_code


def _introduce(view: View, url: str, name: str, *, is_real: bool, is_asked: bool) -> None:
    view.say("•", f"local swarm at {url}")
    if is_real:
        view.say("•", f"harness: {name} (found and able to log in)")
    else:
        why = "as you asked for" if is_asked else f"since there is no usable {DEFAULT_HARNESS} here"
        view.say("•", f"harness: {name} with a scripted model, {why}")
        view.say("•", "(its tools are real; its thinking is scripted, its price invented)")


async def _one_task(client: SwarmClient, view: View, directory: Path, text: str) -> int:
    work = directory / "work"
    work.mkdir()
    (work / "README.txt").write_text("This is where the agent works.\n", encoding="utf-8")
    task = await client.tasks.create(text, directory=str(work))
    view.say("▶", f"task {task.id}: {text}")
    follower = Follower(client, view, task.id)
    ended = await follower.run()
    show_end(view, ended, await follower.costs())
    return 0 if ended.status == "completed" else 1


async def _keep(view: View, url: str, key: str) -> None:
    view.block(
        "The swarm stays up; talk to it from another terminal (Ctrl-C ends it)",
        f"export MCP_BASE_URL={url} AGENT_SWARM_API_KEY={key}\n"
        'swarm-worker task submit --follow "Look around"\n'
        "swarm-worker task list\n"
        'curl -s -H "Authorization: Bearer $AGENT_SWARM_API_KEY" $MCP_BASE_URL/api/tasks',
    )
    await anyio.sleep_forever()


def _environment(directory: Path, url: str, key: str, harness: dict[str, str]) -> dict[str, str]:
    models: tuple[type[SettingsModel], ...] = (
        Settings,
        HarnessProfileSettings,
        *installed_options().values(),
    )
    other = {
        name
        for model in models
        for declared in model.declarations().values()
        if not declared.is_native
        for name in declared.names
    } - INHERITED
    inherited = {name: value for name, value in process_env().items() if name not in other}
    own = {
        "MCP_BASE_URL": url,
        "API_KEY": key,
        "AGENT_NAME": "demo-worker",
        "SWARM_STATE_DIR": str(directory / "state"),
        "SWARM_WORKSPACE_DIR": str(directory / "workspace"),
        "SWARM_SYNC_SKILLS": "false",
        "SKIP_SESSION_SUMMARY": "1",
        "SWARM_POLL_INTERVAL_S": "0.2",
        "SWARM_LOG_FLUSH_INTERVAL_S": "0.2",
        "SWARM_EVENTS_FLUSH_INTERVAL_S": "0.5",
    }
    return {**inherited, **own, **harness}


def _cheapest_model() -> dict[str, str]:
    chosen = ModelSettings.load(process_env()).model_override
    return {"MODEL_OVERRIDE": chosen or spec_of(DEFAULT_HARNESS).models.tiers.get("smol", "")}


@asynccontextmanager
async def _served(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    from agent_swarm_worker.http_server import HttpServer  # noqa: PLC0415 - an extra

    server = HttpServer(app)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener])
        try:
            yield
        finally:
            server.stop()
            await server.stopped()
