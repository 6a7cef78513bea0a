"""A container without a container: a home, a workspace, and a swarm that says what it is told.

What is started is the real command in a process of its own. Where the tests run as root it keeps
root's rights (``--user root``), since the interpreter may lie where nobody else can read it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from patience import BYTECODE

AGENT_ID = "0b7dfe2e-5c1c-4d3f-9a53-1f6f3d0f7c11"
KEY = "container-api-key-0123456789"
COMMAND = (sys.executable, "-m", "agent_swarm_worker")
ENTRYPOINT = Path(__file__).parents[2] / "docker-entrypoint.sh"
SHOW_ENV = (sys.executable, "-c", "import json, os; print('ENV' + json.dumps(dict(os.environ)))")
HEALTH = "/health"
CONFIG = "/api/config/resolved"
REPOS = "/api/repos"
SCRIPTS = f"/api/agents/{AGENT_ID}/setup-script"


class ScriptedApi:
    """Serves what is put into `answers` by path, and notes who asked for what."""

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, Any] = {
            HEALTH: {"status": "ok", "version": "1.135.0"},
            CONFIG: {"configs": []},
            REPOS: {"repos": []},
            SCRIPTS: {"globalSetupScript": None, "setupScript": None},
        }
        self.hanging: set[str] = set()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._leave = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def rows(self, **values: str) -> None:
        self.answers[CONFIG] = {
            "configs": [{"key": k, "value": v, "scope": "global"} for k, v in values.items()]
        }

    def scripts(self, *, everyone: str | None = None, own: str | None = None) -> None:
        self.answers[SCRIPTS] = {"globalSetupScript": everyone, "setupScript": own}

    def __enter__(self) -> ScriptedApi:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(api) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - two selves
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                api.asked.append((path, {k.lower(): v for k, v in self.headers.items()}))
                if path in api.hanging:
                    api._leave.wait(30)
                    return
                known = path in api.answers
                body = json.dumps(api.answers[path] if known else {"error": "not found"}).encode()
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class Box:
    """The places and variables of one container."""

    def __init__(self, place: Path, url: str) -> None:
        self.place = place
        self.home, self.workspace = place / "home", place / "workspace"
        self.programs, self.logs = place / "bin", place / "logs"
        for folder in (self.home, self.programs, self.logs, place / "tmp"):
            folder.mkdir()
        for name in ("personal", "shared"):
            (self.workspace / name).mkdir(parents=True)
        self.env = {
            "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(place / "tmp"),
            **BYTECODE,
            "GIT_CONFIG_SYSTEM": str(place / "system-gitconfig"),
            "SWARM_WORKSPACE_DIR": str(self.workspace),
            "LOG_DIR": str(self.logs),
            "MCP_BASE_URL": url,
            "API_KEY": KEY,
            "AGENT_ID": AGENT_ID,
            "HARNESS_PROVIDER": "subprocess",
            "HARNESS_COMMAND": "cat",
            "WORKER_API_READY_TIMEOUT_SECONDS": "10",
        }

    def program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def prepare(
        self, *words: str, command: tuple[str, ...] = (), within_s: float = 30, **more: str
    ) -> Done:
        """Run ``prepare`` to its end, with `command` in its place."""
        dashes = ("--", *command) if command else ()
        argv = [*COMMAND, "prepare", "--user", "root", *words, *dashes]
        return self.call(argv, within_s=within_s, **more)

    def call(self, argv: list[str], *, within_s: float = 30, **more: str) -> Done:
        began_s = time.monotonic()
        done = subprocess.run(
            argv,
            env={**self.env, **more},
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within_s,
            check=False,
        )
        return Done(
            done.returncode,
            done.stdout.decode(),
            done.stderr.decode(),
            time.monotonic() - began_s,
        )

    def start_up(self, text: str, name: str = "start-up.sh") -> Path:
        path = self.workspace / name
        path.write_text(text)
        path.chmod(0o755)
        return path


class Done:
    """How a process ended."""

    def __init__(self, code: int, out: str, err: str, took_s: float) -> None:
        self.code, self.out, self.err, self.took_s = code, out, err, took_s

    @property
    def env(self) -> dict[str, str]:
        """What `SHOW_ENV` has printed."""
        line = next(line for line in self.out.splitlines() if line.startswith("ENV"))
        return json.loads(line.removeprefix("ENV"))  # type: ignore[no-any-return]

    def steps(self, name: str) -> list[dict[str, Any]]:
        """What the log says about one step."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("step") == name]


def git(*words: str, cwd: Path) -> str:
    who = {
        f"GIT_{part}_{key}": "x" for part in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1", **who}
    done = subprocess.run(["git", *words], cwd=cwd, env=env, capture_output=True, check=True)
    return done.stdout.decode()


def shown(path: Path) -> str:
    """Return a shell command that leaves a mark in a file."""
    return f"id -u >> {shlex.quote(str(path))}\n"
