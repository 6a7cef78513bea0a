"""Which program the CLI is, and which of its two transports a session talks over."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.options import CodexOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

Transport: TypeAlias = Literal["app-server", "exec"]
PROBE_TIMEOUT_S = 20.0

_probed: dict[tuple[str, ...], bool] = {}
"""Programs that were asked, each with its time of change: whether they have an app server."""


def codex_program(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of ``CODEX_BINARY`` or ``CODEX_PATH_OVERRIDE``; by default ``codex``.

    Raises:
        BadSetting: the value has an open quote.
    """
    return CodexOptions.load(env).program


async def choose_transport(env: Mapping[str, str]) -> Transport:
    """Return the transport of a session; ``auto`` asks the program once what it can do."""
    match CodexOptions.load(env).transport:
        case "app-server":
            return "app-server"
        case "exec":
            return "exec"
    if await _has_app_server(env):
        return "app-server"
    Log().warning(Event.CONFIG_IGNORED, key="CODEX_TRANSPORT", why="this codex has no app-server")
    return "exec"


async def _has_app_server(env: Mapping[str, str]) -> bool:
    """Ask for the help of the subcommand: a CLI without it prints its general help instead."""
    words = codex_program(env)
    path = shutil.which(words[0], path=env.get("PATH"))
    if path is None:
        return True  # starting it will say so better
    changed = str((await anyio.Path(path).stat()).st_mtime_ns)
    key = (*words, path, changed)
    if key not in _probed:
        help_text = ""
        with contextlib.suppress(OSError), anyio.move_on_after(PROBE_TIMEOUT_S):
            asked = await anyio.run_process(
                [*words, "app-server", "--help"], check=False, env=dict(env)
            )
            help_text = asked.stdout.decode(errors="replace") if asked.returncode == 0 else ""
        usage = [line for line in help_text.splitlines() if line.startswith("Usage:")]
        _probed[key] = any("app-server" in line for line in usage)
    return _probed[key]
