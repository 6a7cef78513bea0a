"""``swarm-worker doctor``: check settings, API, harness, state directory and programs."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker import __version__, logs
from agent_swarm_worker.cli.connect import connected, run_until_signal
from agent_swarm_worker.cli.output import print_json, print_table
from agent_swarm_worker.cli.providers import missing_requirement
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import (
    EXIT_FAILURE,
    ApiError,
    BinaryMissing,
    ConfigError,
    StateLocked,
    StateUnwritable,
    SwarmWorkerError,
    Unauthorized,
)
from agent_swarm_worker.harness_profiles.names import HarnessProfileSettings
from agent_swarm_worker.providers.registry import spec_of, supported_providers
from agent_swarm_worker.settings import process_env
from agent_swarm_worker.state.directory import StateDir, agent_dir
from agent_swarm_worker.worker.boot.availability import find_program
from agent_swarm_worker.worker.boot.environment import checked_settings, make_sandbox
from agent_swarm_worker.worker.boot.harness import harness_name, profile_of, server_names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.settings import Settings

HEALTH_TIMEOUT_S = 5.0
LOW_DISK_BYTES = 500 * 1024 * 1024
MARKS = {"ok": "✔", "warn": "!", "fail": "✘"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table."""

    check: str
    state: str
    """ok, warn or fail."""
    detail: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run all checks; return 1 if one fails."""
    logs.configure(level="error")
    return run_until_signal(_run, args)


async def _run(args: argparse.Namespace) -> int:
    findings = await _examine(process_env())
    if args.json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            ["", "CHECK", "FINDING", "WHAT TO DO"],
            [[MARKS[f.state], f.check, f.detail, f.advice] for f in findings],
        )
    return EXIT_FAILURE if any(finding.state == "fail" for finding in findings) else 0


async def _examine(env: Mapping[str, str]) -> list[Finding]:
    versions = f"{__version__}, Python {platform.python_version()} at {sys.executable}"
    findings = [Finding("swarm-worker", "ok", versions)]
    try:
        settings = checked_settings(env)
    except SwarmWorkerError as error:
        return [*findings, Finding("settings", "fail", str(error), "mend this variable")]
    findings.append(Finding("settings", "ok", "every variable that is set can be used"))
    findings += _profile(env)
    findings.append(await _harness(env))
    findings += await _api(settings, harness_name(env))
    findings += _home(settings)
    findings += _state(settings)
    findings += _log_dir(settings)
    findings += _programs()
    return findings


def _profile(env: Mapping[str, str]) -> Iterator[Finding]:
    """Check the harness profile of the worker, if there is a choice."""
    chosen = HarnessProfileSettings.load(env)
    if not chosen.profile and not chosen.file:
        return
    try:
        profile = profile_of(harness_name(env), env)
    except ConfigError as error:
        advice = error.advice or "mend this variable"
        yield Finding("harness profile", "fail", str(error), advice)
    else:
        yield Finding("harness profile", "ok", str(profile.name))


async def _harness(env: Mapping[str, str]) -> Finding:
    name = harness_name(env)
    error = await missing_requirement(name, env)
    if error is None:
        found = await find_program(name, env, make_sandbox())
        if not found.works:
            state = "warn" if found.is_slow else "fail"
            return Finding("harness", state, f"{name}: {found.reason}", found.todo)
        return Finding("harness", "ok", f"{name}: program and credentials are there")
    others = ", ".join(supported_providers())
    advice = error.advice or f"or set HARNESS_PROVIDER to another one of: {others}"
    spec = spec_of(name)
    if isinstance(error, BinaryMissing) and spec.program and spec.program.install:
        advice = f"{spec.program.install.command}; {advice}"
    return Finding("harness", "fail", str(error), advice)


async def _api(settings: Settings, harness: str) -> list[Finding]:
    try:
        async with connected(settings) as client:
            version = await client.resources.health(timeout_s=HEALTH_TIMEOUT_S)
            answers = f"{client.http.shown_url} answers, version {version or 'unknown'}"
            key = await _api_key(client)
            name = await _registered_name(client, harness)
            return [Finding("API", "ok", answers), key, *name]
    except ConfigError as error:
        return [Finding("API", "fail", str(error), "mend this variable")]
    except ApiError as error:
        advice = "start it, or set MCP_BASE_URL to its address"
        return [Finding("API", "fail", str(error), advice)]


async def _api_key(client: SwarmClient) -> Finding:
    try:
        await client.tasks.list(limit=1)
    except Unauthorized:
        return Finding("API key", "fail", "the API refuses it", "set API_KEY to the swarm's key")
    except ApiError as error:
        advice = "the API answers, but not as expected"
        return Finding("API key", "warn", str(error), advice)
    return Finding("API key", "ok", "accepted")


async def _registered_name(client: SwarmClient, harness: str) -> list[Finding]:
    """Say under which name this server would know the harness; doctor does not register."""
    if harness not in supported_providers():
        return []
    names = server_names(spec_of(harness))
    known = client.capabilities.harness_names
    await known.learn(names, client.resources.openapi)
    first, *others = known.to_try(names)
    if first != harness:
        detail = f"{harness} is registered as {first}: the server does not list {harness}"
    elif known.accepts(harness):
        detail = f"{harness} is registered under its own name"
    else:
        detail = f"{harness} is registered under its own name, or as {others[0]} if that is refused"
    return [Finding("registration", "ok", detail)]


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    if home == Path("/"):
        why = "HOME is not set, or is /"
    elif not home.is_absolute():
        why = f"HOME={home} is not absolute"
    elif not home.is_dir():
        why = f"HOME={home} is no directory"
    else:
        return
    advice = "set it: programs look for logins there, and the worker keeps its state there"
    yield Finding("HOME", "warn", why, advice)


def _state(settings: Settings) -> Iterator[Finding]:
    """Check the state directory; one that is not there is not made."""
    root = settings.state_root()
    own = agent_dir(root, settings.agent_id or "doctor")
    place = _nearest(own)
    try:
        if place == own:
            StateDir.open(root, settings.agent_id or "doctor", clock=SystemClock()).close()
        elif not _is_writable(place):
            raise StateUnwritable(root, f"{place} is not a directory one may write to")
    except StateLocked as error:
        yield Finding("state", "warn", str(error), "fine if that is a worker of yours")
    except SwarmWorkerError as error:
        yield Finding("state", "fail", str(error), error.advice)
        return
    else:
        yield Finding("state", "ok", f"{root} can be written")
    yield _disk(place)


def _log_dir(settings: Settings) -> Iterator[Finding]:
    """Check ``LOG_DIR`` without making it: its nearest directory must be one to write to."""
    if settings.log_dir is None:
        return
    place = _nearest(settings.log_dir)
    if _is_writable(place):
        yield Finding("LOG_DIR", "ok", f"{settings.log_dir} can be written")
    else:
        why = f"{place} is not a directory one may write to"
        yield Finding("LOG_DIR", "fail", f"LOG_DIR={settings.log_dir}: {why}", "name another one")


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _is_writable(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def _disk(directory: Path) -> Finding:
    free_bytes = shutil.disk_usage(directory).free
    shown = f"{free_bytes // 2**20} MiB free"
    if free_bytes < LOW_DISK_BYTES:
        return Finding("disk", "warn", shown, "journals and the outbox live there: make room")
    return Finding("disk", "ok", shown)


def _programs() -> Iterator[Finding]:
    for name, purpose in (("git", "repositories of tasks"), ("gh", "pull requests on GitHub")):
        path = shutil.which(name)
        state = "warn" if path is None and name == "git" else "ok"
        yield Finding(name, state, path or "not installed", "" if path else f"only for {purpose}")
    has_local = all(find_spec(module) for module in ("starlette", "uvicorn", "mcp"))
    yield Finding(
        "local swarm",
        "ok",
        "installed" if has_local else "not installed",
        "" if has_local else "pip install 'agent-swarm-worker[local]', if you want demo or local",
    )
