"""Opening a browser, on each platform with its own program and never through a shell."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.login.settings import LoginSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTLE_S = 2.0
"""An opener that has not failed by then has opened something, and may stay as long as that."""


def opener(url: str, env: Mapping[str, str], platform: str = sys.platform) -> tuple[str, ...]:
    """Return the words that open `url`; none where there is no screen to open it on."""
    if platform == "darwin":
        return ("open", url)
    if platform in {"win32", "cygwin"}:
        # What `start` does, without the command interpreter, to which the URL's & are commands.
        return ("rundll32", "url.dll,FileProtocolHandler", url)
    return ("xdg-open", url) if LoginSettings.load(env).has_screen else ()


async def open_browser(url: str, env: Mapping[str, str]) -> str:
    """Open `url`; return why it could not be done, nothing if it was."""
    words = opener(url, env)
    if not words:
        return "there is no display"
    try:
        # Away from our terminal: a text browser would take it over, and Ctrl-C end it.
        process = await anyio.open_process(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0]}: {error.strerror or error}"
    with anyio.move_on_after(SETTLE_S):
        code = await process.wait()
        return f"{words[0]} exited with code {code}" if code else ""
    return ""
