"""Run the set-up scripts before the worker starts, without a time limit.

There are three: the swarm's global script (as root), the operator's ``/workspace/start-up.*``, and
the agent's own, which is stored between two marker lines in the operator's script.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ScriptFailed
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGIN = "# === Agent-managed setup (from DB) ==="
END = "# === End agent-managed setup ==="
NAMES = ("start-up.sh", "start-up.bash", "start-up.js", "start-up.ts", "start-up.bun", "start-up")
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n?", re.DOTALL | re.MULTILINE)
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_BY_SUFFIX = {
    ".sh": ("bash",),
    ".bash": ("bash",),
    ".js": ("node",),
    ".ts": ("bun", "run"),
    ".bun": ("bun", "run"),
}


def start_up_script(workspace: Path) -> Path | None:
    """Return the operator's script, the first of `NAMES` that exists."""
    return next((workspace / name for name in NAMES if (workspace / name).is_file()), None)


def interpreter(path: Path) -> tuple[str, ...]:
    """Return the interpreter of the script at `path`; empty if the script is executed itself.

    Decided by the shebang (without its arguments) if that program exists, else by the suffix, else
    by the executable bit.
    """
    with path.open("rb") as file:
        named = _shebang(file.readline(1000).decode(errors="replace"))
    if named and shutil.which(named):
        return (named,)
    if path.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix]
    return () if os.access(path, os.X_OK) and named is None else ("bash",)


def merge_agent_block(operators: str, agents: str) -> str:
    """Return the operator's script with the agent's between marker lines, after the shebang.

    An older block is replaced. The agent's shebang is used only if the operator's has none.
    """
    first, rest = _split_shebang(operators)
    rest = _BLOCK.sub("", rest)
    own_first, body = _split_shebang(_BLOCK.sub("", agents).replace("\r\n", "\n"))
    if not body.strip():
        return first + rest
    block = f"{BEGIN}\n{body.rstrip()}\n{END}\n"
    return (first or own_first or "#!/bin/bash\n") + block + rest


def is_shell(text: str) -> bool:
    """Return whether a script is for a shell; one without a shebang is."""
    named = _shebang(text.partition("\n")[0])
    return named is None or Path(named).name in _SHELLS


class Scripts:
    """Runs scripts in the workspace; if it is strict, a failure raises `ScriptFailed`."""

    def __init__(self, workspace: Path, *, is_strict: bool, log: Log) -> None:
        self._workspace, self._is_strict, self._log = workspace, is_strict, log

    def run_global(self, text: str, env: Mapping[str, str]) -> None:
        """Run the swarm's global script."""
        self._run_text("global setup script", text, env)

    def run_start_up(self, agents: str | None, env: Mapping[str, str]) -> None:
        """Update the agent's block in the operator's script, and run the script.

        Args:
            agents: the agent's script; ``None`` if it is not known: the block stays.
            env: environment of the script.
        """
        path = start_up_script(self._workspace)
        operators = _read(path) if path else ""
        if agents and not (is_shell(agents) and _takes_shell(path, operators)):
            self._run_text("agent's setup script", agents, env)
            agents = None
        if agents is None or not (path or agents.strip()):
            wanted = operators
        else:
            wanted = merge_agent_block(operators, agents)
        if not wanted.strip():
            return
        path = path or self._workspace / NAMES[0]
        if wanted != operators and not self._write(path, wanted):
            self._run_text(path.name, wanted, env)
        else:
            self._run(path.name, path, env)

    def _write(self, path: Path, text: str) -> bool:
        mode = (path.stat().st_mode & 0o777) | 0o100 if path.exists() else 0o755
        try:
            write_atomically(path, text.encode(), mode=mode)
        except OSError as error:
            # A file that is mounted by itself cannot be replaced, and often not written.
            self._log.warning(Event.BOOT_STEP, step=path.name, why=f"not updated: {error.strerror}")
            return False
        return True

    def _run_text(self, name: str, text: str, env: Mapping[str, str]) -> None:
        if not text.strip():
            return
        with tempfile.TemporaryDirectory(prefix="swarm-setup-") as folder:
            path = Path(folder) / "script"
            path.write_text(text, encoding="utf-8", errors="replace")
            path.chmod(0o700)
            self._run(name, path, env)

    def _run(self, name: str, path: Path, env: Mapping[str, str]) -> None:
        self._log.info(Event.BOOT_STEP, step=name, state="runs")
        try:
            code = self._code_of([*interpreter(path), str(path)], env)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            self._log.warning(Event.BOOT_STEP, step=name, why=str(error))
        code = 128 - code if code < 0 else code
        if code == 0:
            return
        if self._is_strict:
            raise ScriptFailed(name, code)
        self._log.warning(Event.BOOT_STEP, step=name, code=code, why=_advice(name))

    def _code_of(self, command: list[str], env: Mapping[str, str]) -> int:
        try:
            return subprocess.run(
                command, env=dict(env), cwd=self._workspace, stdin=subprocess.DEVNULL, check=False
            ).returncode
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            return self._code_of(["bash", *command], env)  # as a shell does


def _advice(name: str) -> str:
    if "global" in name:
        return "it failed; the start continues"
    return "it failed; the start continues (steps that need root belong in the global setup script)"


def _takes_shell(path: Path | None, text: str) -> bool:
    return path is None or (path.suffix not in {".js", ".ts", ".bun"} and is_shell(text))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _shebang(line: str) -> str | None:
    """Return the interpreter that a shebang names; ``None`` if `line` is none."""
    if not line.startswith("#!"):
        return None
    words = line[2:].split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else None


def _split_shebang(text: str) -> tuple[str, str]:
    if not text.startswith("#!"):
        return "", text
    first, _, rest = text.partition("\n")
    return f"{first.rstrip()}\n", rest
