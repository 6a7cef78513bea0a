"""Fixtures for ``swarm-worker login``: real processes, on pipes or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from anyio.from_thread import start_blocking_portal
from cli_rig import COMMAND, KEY, bare_env
from oauth_server import OAuthServer

from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.local_swarm.sweeps import SweepSettings

BROWSER = """#!{python}
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=10).read()
except OSError:
    pass
"""
BROKEN_BROWSER = """#!{python}
import sys
sys.exit(3)
"""
IDLE_BROWSER = """#!{python}
import time
time.sleep(30)
"""


def login_env(place: Path, vendor: OAuthServer, url: str, *, browser: str = "", **more: str):
    """Return the environment of a command with this vendor, this swarm and this browser."""
    programs = place / "programs"
    programs.mkdir(exist_ok=True)
    if browser:
        path = programs / "xdg-open"
        path.write_text(browser.format(python=sys.executable))
        path.chmod(0o755)
        more = {"DISPLAY": ":99", **more}
    env = bare_env(place, CODEX_OAUTH_ISSUER=vendor.url, MCP_BASE_URL=url, API_KEY=KEY)
    # Only our programs: a real browser of the machine must not be found.
    return {**env, "PATH": str(programs), **more}


def slots(url: str) -> dict[str, dict[str, Any]]:
    """Return the swarm's rows of slots, by key."""
    answer = httpx2.get(
        f"{url}/api/config/resolved",
        params={"includeSecrets": "true"},
        headers={"Authorization": f"Bearer {KEY}"},
    )
    rows = answer.json()["configs"]
    return {row["key"]: row for row in rows if row["key"].startswith("codex_oauth")}


def put_row(url: str, key: str, value: str) -> None:
    body = {"scope": "global", "key": key, "value": value, "isSecret": True}
    headers = {"Authorization": f"Bearer {KEY}"}
    httpx2.put(f"{url}/api/config", json=body, headers=headers).raise_for_status()


@contextmanager
def quick_swarm() -> Iterator[str]:
    """A swarm in a thread of this process; gives its URL."""
    with start_blocking_portal() as portal:
        swarm = LocalSwarm(api_key=KEY, sweeps=SweepSettings(enabled=False))
        with portal.wrap_async_context_manager(swarm):
            yield swarm.url


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master = process, master
        self.shown = ""

    def read(self, *, within_s: float = 0.1) -> None:
        ready, _, _ = select.select([self._master], [], [], within_s)
        if ready:
            try:
                self.shown += os.read(self._master, 4096).decode("utf-8", "replace")
            except OSError:
                self.shown += ""  # it has closed its end

    def until(self, pattern: str, *, within_s: float = 30.0) -> re.Match[str]:
        """Read until the terminal shows this."""
        give_up_at_s = time.monotonic() + within_s
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < give_up_at_s, self.shown
            self.read()
        return found

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def ended(self, *, within_s: float = 15.0) -> int:
        """Read until the command ends by itself; return its exit code."""
        give_up_at_s = time.monotonic() + within_s
        while self.process.poll() is None:
            assert time.monotonic() < give_up_at_s, self.shown
            self.read(within_s=0.05)
        for _ in range(20):
            self.read(within_s=0.02)
        return self.process.returncode


@contextmanager
def on_terminal(*words: str, env: dict[str, str]) -> Iterator[Terminal]:
    """Run a command on a terminal."""
    master, slave = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))

    process = subprocess.Popen(
        [*COMMAND, *words], env=env, stdin=slave, stdout=slave, stderr=slave,
        preexec_fn=take_terminal,  # noqa: PLW1509 - the only way to a terminal of its own
    )  # fmt: skip
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)
