"""Builds the image and runs it for real: `make image-test`, through `with-engine.sh`.

Only the standard library, so that it runs before anything is installed. Each check is a function;
its first line says what it promises. Exits with 1 if one fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

DOCKER = os.environ.get("DOCKER", "docker")
BASE = os.environ.get("BASE", "python:3.13-slim")
HARNESSES = os.environ.get("HARNESSES", "")
ROOT = Path(__file__).parents[2]
RUN = uuid.uuid4().hex[:8]
IMAGE, NETWORK = f"swarm-worker-test:{RUN}", f"swarm-worker-{RUN}"
KEY = f"image-test-key-{uuid.uuid4().hex}"
SECRET = f"build-secret-{uuid.uuid4().hex}"
SWARM = f"swarm-{RUN}"
CA = Path("/etc/ssl/certs/ca-certificates.crt")
NPM = Path.home() / ".npmrc"


class Failed(AssertionError):
    """A promise that is not kept."""


def docker(*words: str, check: bool = True, within_s: float = 120) -> str:
    done = subprocess.run(
        [DOCKER, *words],
        capture_output=True,
        timeout=within_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    if check and done.returncode:
        raise Failed(f"docker {' '.join(words[:3])}: {said[-3000:]}")
    return said


def expect(holds: object, otherwise: object) -> None:
    if not holds:
        raise Failed(str(otherwise)[-3000:])


def until(look: Callable[[], object], what: str, *, within_s: float = 60) -> None:
    give_up_at_s = time.monotonic() + within_s
    while not look():
        expect(time.monotonic() < give_up_at_s, f"it did not happen: {what}")
        time.sleep(0.2)


def build() -> None:
    """Build the image, with a secret that must not stay in it."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as pip:
        pip.write(f"[global]\n# {SECRET}\n")
        pip.flush()
        secrets = ["--secret", f"id=pip,src={pip.name}"]
        for name, path in (("ca", CA), ("npm", NPM)):
            secrets += ["--secret", f"id={name},src={path}"] if path.exists() else []
        args = {"BASE": BASE, "HARNESS_BASE": BASE, "HARNESSES": HARNESSES, "PACKAGES": ""}
        settings = [word for key in args for word in ("--build-arg", f"{key}={args[key]}")]
        docker(
            *("build", "-f", str(ROOT / "Dockerfile.worker"), "-t", IMAGE, "--network", "host"),
            *settings,
            *secrets,
            str(ROOT),
            within_s=1800,
        )


@contextlib.contextmanager
def container(
    *words: str, env: dict[str, str] | None = None, command: tuple[str, ...] = ()
) -> Iterator[str]:
    """Run a container meanwhile; gives its name."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    given = {
        "API_KEY": KEY,
        "MCP_BASE_URL": f"http://{SWARM}:3013/",
        "AGENT_ID": str(uuid.uuid4()),
        "HARNESS_PROVIDER": "subprocess",
        "HARNESS_COMMAND": "sh -c 'sed -n 1,2p'",
        **(env or {}),
    }
    variables = [word for key, value in given.items() for word in ("-e", f"{key}={value}")]
    fast = ("--health-interval", "1s", "--health-start-period", "1s")
    docker(
        "run",
        "-d",
        "--name",
        name,
        "--network",
        NETWORK,
        *fast,
        *variables,
        *words,
        IMAGE,
        *command,
    )
    try:
        yield name
    except BaseException:
        print(docker("logs", name, check=False)[-4000:], file=sys.stderr)
        raise
    finally:
        docker("rm", "-f", "-v", name, check=False)


@contextlib.contextmanager
def swarm() -> Iterator[None]:
    """Run a local swarm from the same image, which other containers find by its name."""
    docker(
        *("run", "-d", "--name", SWARM, "--network", NETWORK, "-e", f"API_KEY={KEY}"),
        *("-e", "MCP_BASE_URL=http://localhost:3013", "--no-healthcheck", IMAGE),
        *("swarm-worker", "local", "--host", "0.0.0.0", "--db", "/tmp/swarm.sqlite"),
    )
    try:
        until(
            lambda: (
                "alive"
                in docker("exec", SWARM, "swarm-worker", "health", "--api", check=False)
                .split(":")[0]
                .split()
            ),
            "the swarm answers",
        )
        yield
    finally:
        docker("rm", "-f", "-v", SWARM, check=False)


def log_has(name: str, words: str) -> bool:
    return words in docker("logs", name, check=False)


def started(name: str) -> None:
    until(lambda: log_has(name, "worker.started"), "the worker starts")


def state(name: str) -> dict[str, object]:
    return json.loads(docker("inspect", "-f", "{{json .State}}", name))  # type: ignore[no-any-return]


def submit(words: str) -> str:
    return docker("exec", SWARM, "swarm-worker", "task", "submit", "--follow", words, within_s=60)


# --- the promises
def without_root_under_tini() -> None:
    """The worker is not root, has no way back to root, and tini is process 1."""
    with container() as name:
        started(name)
        lines = docker("exec", name, "ps", "-eo", "user,pid,args").splitlines()
        expect(any(line.split()[1:3] == ["1", "tini"] for line in lines), lines)
        [worker] = [
            line for line in lines if "agent-swarm-worker worker" in line and "tini" not in line
        ]
        expect(worker.startswith("worker"), worker)
        status = docker("exec", name, "cat", f"/proc/{worker.split()[1]}/status")
        expect("CapEff:\t0000000000000000" in status, status)
        expect(
            docker("exec", name, "pgrep", "-f", "agent-swarm").strip(), "a chart's probe finds none"
        )


def healthy_and_a_task_completes() -> None:
    """The health check turns healthy, and a task is done."""
    with container() as name:
        started(name)
        expect("completed" in submit("Say something."), docker("logs", name))
        until(lambda: state(name)["Health"]["Status"] == "healthy", "healthy")  # type: ignore[index]


def a_stopped_worker_is_unhealthy() -> None:
    """A worker that hangs is noticed by the health check of the container."""
    with container() as name:
        started(name)
        docker("exec", name, "pkill", "-STOP", "-f", "agent-swarm-worker worker$")
        until(
            lambda: (
                "not alive"
                in docker(
                    "exec", name, "agent-swarm-worker", "health", "--max-age-s", "2", check=False
                )
            ),
            "the stamp grows old",
        )


def sigterm_drains() -> None:
    """`docker stop` lets the running task finish, and the exit code is 0."""
    with container(env={"HARNESS_COMMAND": "sh -c 'sleep 4; echo finished late'"}) as name:
        started(name)
        with subprocess.Popen(
            [
                DOCKER,
                "exec",
                SWARM,
                "swarm-worker",
                "task",
                "submit",
                "--follow",
                "Take your time.",
            ],
            stdout=subprocess.PIPE,
        ) as following:
            until(lambda: log_has(name, "session.started"), "the session starts")
            began_s = time.monotonic()
            docker("stop", "-t", "30", name)
            expect(time.monotonic() - began_s < 25, "it was killed")
            output = following.communicate(timeout=30)[0].decode()
        expect(state(name)["ExitCode"] == 0, state(name))
        expect("completed" in output, output)


def no_secret_in_the_image() -> None:
    """Nothing that was handed to the build is in the image, its history or its environment."""
    said = docker("history", "--no-trunc", IMAGE) + docker("inspect", IMAGE)
    expect(SECRET not in said and "API_KEY" not in said, said)
    # Every layer as it is shipped: what a later one deletes is still there.
    saved = ("sh", "-c", '"$0" save "$1" | grep -aF "$2"', DOCKER, IMAGE, SECRET)
    found = subprocess.run(saved, stdout=subprocess.DEVNULL, timeout=120, check=False).returncode
    expect(found == 1, f"grep ended with {found}")
    said = docker("run", "--rm", "--entrypoint", "ls", IMAGE, "-A", "/tmp", "/root", "/run")
    expect("build-ca.crt" not in said and "npmrc" not in said, said)


def zombies_are_reaped() -> None:
    """A grandchild that loses its parent does not stay as a zombie."""
    with container(command=("sh", "-c", "(sleep 1 & exec sh -c true) & sleep 60")) as name:
        docker("exec", "-d", name, "sh", "-c", "(sh -c 'sleep 1' & ) ; exit 0")
        time.sleep(2.5)
        lines = docker("exec", name, "ps", "-eo", "stat,args")
        expect(not any(line.startswith("Z") for line in lines.splitlines()), lines)


def an_api_that_comes_late() -> None:
    """The API is down at first: the container waits, and works when it is up."""
    docker("stop", "-t", "5", SWARM)
    with container() as name:
        time.sleep(3)
        expect(state(name)["Running"], "it gave up")
        expect(not log_has(name, "worker.started"), "it started without an API")
        docker("start", SWARM)
        started(name)


def an_api_that_never_comes() -> None:
    """Without an API the container ends with the FATAL line and exit code 1."""
    more = {"MCP_BASE_URL": "http://127.0.0.1:9/", "WORKER_API_READY_TIMEOUT_SECONDS": "2"}
    with container(env=more) as name:
        expect(docker("wait", name, within_s=30).strip() == "1", state(name))
        said = docker("logs", name)
        wanted = (
            "[entrypoint] FATAL: API readiness timed out after 2s"
            " waiting for http://127.0.0.1:9/health; exiting."
        )
        expect(wanted in said and KEY not in said, said)


ROOTS_MESS = """
mkdir -p /home/worker/.claude/x /home/worker/.local
touch /home/worker/.claude/x/y
chown -R root:root /home/worker /workspace /logs
exec /docker-entrypoint.sh
"""


def what_root_left_is_mended() -> None:
    """Root-owned files in the home, root-owned volumes: the worker can write all of them."""
    words = ("--entrypoint", "sh", "--tmpfs", "/workspace/shared:mode=755")
    with container(*words, command=("-c", ROOTS_MESS)) as name:
        started(name)
        places = ("/home/worker", "/workspace", "/logs")
        left = docker("exec", name, "find", *places, "-xdev", "-user", "root").strip()
        expect(left == "", left)
        for place in (
            "/workspace/personal",
            "/workspace/shared",
            "/logs",
            "/home/worker/.claude/x",
        ):
            docker("exec", "-u", "worker", name, "touch", f"{place}/written")


def a_read_only_shared_volume() -> None:
    """A shared volume that is mounted read-only does not end the boot."""
    with container("--tmpfs", "/workspace/shared:ro") as name:
        started(name)


def another_user_from_the_start() -> None:
    """A container that is not allowed root at all works as well."""
    with container(
        "--user", "worker", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"
    ) as name:
        started(name)
        expect("completed" in submit("Once more."), docker("logs", name))


START_UP = """
printf '#!/bin/sh\\nid -un > /workspace/who\\nexit 7\\n' > /workspace/start-up.sh
exec /docker-entrypoint.sh
"""
PUT_GLOBAL_SCRIPT = """
import json, os, urllib.request
row = {"scope": "global", "key": "SETUP_SCRIPT", "value": "id -un > /global-ran-as"}
key = {"Authorization": "Bearer " + os.environ["API_KEY"], "Content-Type": "application/json"}
url = "http://localhost:3013/api/config"
urllib.request.urlopen(urllib.request.Request(url, json.dumps(row).encode(), key, method="PUT"))
"""


def scripts_have_the_rights_they_should() -> None:
    """The global script runs as root, the start-up script as the worker; strict passes its code."""
    docker("exec", SWARM, "python3", "-c", PUT_GLOBAL_SCRIPT)
    script, agent, last = ("-c", START_UP), {"AGENT_ID": str(uuid.uuid4())}, ""
    for _ in range(2):  # the swarm knows the scripts of agents that have registered
        with container("--entrypoint", "sh", env=agent, command=script) as name:
            started(name)
            expect(docker("exec", name, "cat", "/workspace/who").strip() == "worker", "who")
            last = docker("exec", name, "cat", "/global-ran-as", check=False).strip()
    expect(last == "root", last)
    strict = {"STARTUP_SCRIPT_STRICT": "true"}
    with container("--entrypoint", "sh", env=strict, command=script) as name:
        expect(docker("wait", name, within_s=60).strip() == "7", docker("logs", name))


def commands_and_names() -> None:
    """The names by which charts know the worker are there, and other commands run as the worker."""
    for words in (("agent-swarm", "version"), ("/usr/local/bin/agent-swarm", "version")):
        expect("swarm-worker v" in docker("run", "--rm", IMAGE, *words), words)
    expect(docker("run", "--rm", IMAGE, "id", "-un").strip() == "worker", "id")
    helm = ("--entrypoint", "sh", IMAGE, "-c", "exec /docker-entrypoint.sh ps -o args= -p 1")
    expect(docker("run", "--rm", *helm).startswith("tini"), "tini")
    for harness in HARNESSES.split():
        expect(docker("run", "--rm", IMAGE, harness, "--version").strip(), harness)


CHECKS = (
    without_root_under_tini,
    healthy_and_a_task_completes,
    a_stopped_worker_is_unhealthy,
    sigterm_drains,
    no_secret_in_the_image,
    zombies_are_reaped,
    an_api_that_comes_late,
    an_api_that_never_comes,
    what_root_left_is_mended,
    a_read_only_shared_volume,
    another_user_from_the_start,
    scripts_have_the_rights_they_should,
    commands_and_names,
)


def main() -> int:
    wanted = sys.argv[1:]
    failed = 0
    print(f"building from {BASE}, harnesses: {HARNESSES or 'none'}", flush=True)
    build()
    docker("network", "create", NETWORK)
    try:
        with swarm():
            for check in CHECKS:
                if wanted and check.__name__ not in wanted:
                    continue
                began_s = time.monotonic()
                try:
                    check()
                    mark = "ok  "
                except Exception:
                    mark = "FAIL"
                    failed += 1
                    traceback.print_exc()
                print(f"{mark} {time.monotonic() - began_s:5.1f} s  {check.__doc__}", flush=True)
    finally:
        docker("network", "rm", NETWORK, check=False)
        docker("rmi", "-f", IMAGE, check=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
