"""Which program the CLI is, and which of its two transports a session talks over."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.options import CodexOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig

Transport: TypeAlias = Literal["app-server", "exec"]
PROBE_TIMEOUT_S = 20.0
MAX_HELP_BYTES = 1 << 20

_probed: dict[tuple[str, ...], bool] = {}
"""Programs that were asked, each with its time of change: whether they have an app server."""


def codex_program(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of ``CODEX_BINARY`` or ``CODEX_PATH_OVERRIDE``; by default ``codex``.

    Raises:
        BadSetting: the value has an open quote.
    """
    return CodexOptions.load(env).program


async def choose_transport(config: ProviderSessionConfig) -> Transport:
    """Return the transport of a session; ``auto`` asks the program once what it can do."""
    match CodexOptions.load(config.env).transport:
        case "app-server":
            return "app-server"
        case "exec":
            return "exec"
    if await _has_app_server(config):
        return "app-server"
    Log().warning(Event.CONFIG_IGNORED, key="CODEX_TRANSPORT", why="this codex has no app-server")
    return "exec"


async def _has_app_server(config: ProviderSessionConfig) -> bool:
    """Ask for the help of the subcommand: a CLI without it prints its general help instead."""
    words, guest = codex_program(config.env), config.guest
    path = await guest.files.which(words[0], config.env)
    found = await guest.files.info(path) if path is not None else None
    if path is None or found is None:
        return True  # starting it will say so better
    key = (*words, path, str(found.modified_ns))
    if key not in _probed:
        help_text = ""
        with contextlib.suppress(ProviderError):
            asked = await guest.run(
                (*words, "app-server", "--help"),
                env=config.env,
                cwd=config.cwd,
                timeout_s=PROBE_TIMEOUT_S,
                max_output=MAX_HELP_BYTES,
                name="probe",
            )
            help_text = asked.stdout.decode(errors="replace") if asked.exit_code == 0 else ""
        usage = [line for line in help_text.splitlines() if line.startswith("Usage:")]
        _probed[key] = any("app-server" in line for line in usage)
    return _probed[key]
