"""A whole start: from the entrypoint to a finished task, with a real swarm and worker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from container_rig import COMMAND, ENTRYPOINT, KEY, Box, git
from patience import until_blocking

# The rights that tests run with are kept: their interpreter may lie where only root can read.
SHIM = f"""#!/bin/sh
if [ "$1" = prepare ]; then
    shift
    exec {sys.executable} -m agent_swarm_worker prepare --user root "$@"
fi
exec {sys.executable} -m agent_swarm_worker "$@"
"""


@contextmanager
def running(argv: list[str], env: dict[str, str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    with said.open("wb") as file:
        process = subprocess.Popen(
            argv, env=env, cwd=said.parent, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        yield process
    except BaseException:
        print(said.read_text()[-8000:])
        raise
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def swarm(box: Box) -> Iterator[str]:
    said = box.place / "swarm.txt"
    argv = [*COMMAND, "local", "--port", "0", "--db", str(box.place / "swarm.sqlite")]
    with running(argv, box.env, said):
        found = until_blocking(
            lambda: re.search(r"MCP_BASE_URL=(http://\S+)", said.read_text()), within_s=40
        )
        yield found[1]


@pytest.mark.timeout(120)  # a swarm, a container, a worker and three commands, one after another
def test_a_container_starts_does_a_task_and_drains(box: Box, swarm: str):
    source = box.place / "source"
    source.mkdir()
    git("init", "-q", "-b", "main", cwd=source)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=source)
    shim = box.program("agent-swarm-worker", SHIM)
    mark = box.place / "mark"
    box.start_up(f"#!/bin/sh\necho $FROM_A_ROW > {mark}\n")
    env = {**box.env, "MCP_BASE_URL": swarm, "AGENT_ID": str(uuid.uuid4())}
    env |= {"HARNESS_COMMAND": "sed -n 1,2p", "SWARM_POLL_INTERVAL_S": "0.1"}
    put(swarm, "PUT", "/api/config", scope="global", key="FROM_A_ROW", value="it's $here")
    put(swarm, "POST", "/api/repos", url=str(source), name="from-the-start")
    said = box.place / "said.txt"
    with running([str(ENTRYPOINT), "--yolo"], env, said) as process:
        until_blocking(
            lambda: "worker.started" in said.read_text() or process.poll() is not None, within_s=40
        )
        assert mark.read_text() == "it's $here\n"
        assert (box.workspace / "personal" / "repos" / "from-the-start" / ".git").is_dir()
        cmdline = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"agent_swarm_worker\0worker\0--yolo" in cmdline, "the worker took its place"
        task = subprocess.run(
            [*COMMAND, "task", "submit", "--follow", "Say something."],
            env=env,
            capture_output=True,
            timeout=40,
            check=False,
        )
        assert task.returncode == 0, task
        health = box.call([str(shim), "health"], AGENT_ID=env["AGENT_ID"])
        assert health.out.startswith(f"alive: process {process.pid}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert KEY not in said.read_text()


def put(base_url: str, method: str, path: str, /, **body: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(base_url + path, data, headers, method=method)
    urllib.request.urlopen(request).close()
