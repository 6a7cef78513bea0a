"""Run sessions of a real adapter whose program replays recordings of the real one.

A recording is `<name>.jsonl` (standard output), `<name>.stderr`, and its exit code in
`exit_codes.json`. The program notes down how it was started.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from session_config import session_config

from agent_swarm_worker.contract import ProviderAdapter, ProviderResult, ProviderSession

PLAYER = """
import json, os, pathlib, stat, sys
streams, notes, fresh, resumed, until = sys.argv[1:6]
argv = sys.argv[6:]
files = {}
for top in (os.environ["PRIVATE"],):
    for folder, _, names in os.walk(top):
        for name in names:
            path = pathlib.Path(folder, name)
            files[str(path.relative_to(top))] = [oct(path.stat().st_mode & 0o777), path.read_text()]
lines = []
for line in sys.stdin:
    lines.append(line)
    if until and until in line:
        break
with open(notes, "a") as out:
    print(json.dumps(
        {"argv": argv, "stdin": "".join(lines), "files": files, "env": dict(os.environ)}
    ), file=out)
is_resumed = any(word.startswith(("--resume", "--session", "continue")) for word in argv)
name = resumed if resumed and is_resumed else fresh
folder = pathlib.Path(streams)
for suffix, stream in (("stderr", sys.stderr), ("jsonl", sys.stdout)):
    path = folder / f"{name}.{suffix}"
    if path.exists():
        stream.write(path.read_text())
        stream.flush()
if until and (folder / f"{name}.jsonl").exists():
    for line in sys.stdin:
        with open(notes + ".more", "a") as out:
            out.write(line)
sys.exit(json.loads((folder / "exit_codes.json").read_text())[name])
"""


@dataclass(frozen=True)
class Replayed:
    """A session that has ended."""

    session: ProviderSession
    result: ProviderResult
    events: list[Any]
    starts: list[dict[str, Any]]
    """How the program was started, each time: argv, stdin, env, and the session's private files."""

    def of(self, *types: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, types)]


@dataclass(frozen=True)
class Player:
    """What stands for the program of a harness.

    Args:
        streams: the folder of recordings.
        binary: the variable that overrides the program.
        until: the text in standard input at which the program answers; by default at its end.
    """

    adapter: ProviderAdapter
    streams: Path
    binary: str
    env: dict[str, str]
    until: str = ""

    async def run(
        self,
        folder: Path,
        name: str,
        *,
        resumed: str = "",
        env: dict[str, str] | None = None,
        **changed: Any,
    ) -> Replayed:
        """Run a session that replays `name`, or `resumed` if the program is to resume one."""
        notes = folder / "notes"
        notes.unlink(missing_ok=True)
        config = session_config(
            folder, **{"env": self.environment(folder, name, resumed) | (env or {}), **changed}
        )
        session = await self.adapter.create_session(config)
        events: list[Any] = []
        session.on_event(events.append)
        result = await session.wait_for_completion()
        starts = [json.loads(line) for line in notes.read_text().splitlines()]
        return Replayed(session, result, events, starts)

    def environment(self, folder: Path, name: str, resumed: str = "") -> dict[str, str]:
        """Return the variables of a session in `folder` that replays `name`."""
        program = folder / "player.py"
        program.write_text(PLAYER)
        words = [sys.executable, "-S", program, self.streams, folder / "notes", name, resumed]
        (folder / "home").mkdir(exist_ok=True)
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "PRIVATE": str(folder / "private"),
            self.binary: shlex.join(map(str, [*words, self.until])),
            **self.env,
        }
