"""Record what a real CLI prints in sessions of its adapter, for the tests of its translator.

    python tests/e2e/record_cli.py HARNESS [NAME…]

Run it after the pinned version changed, then look at what changed in the recordings. Of each
scenario the lines of standard output are kept, those of standard error, and the exit code.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]
for _folder in (_TESTS, _TESTS / "worker", _TESTS / "providers/pi"):
    sys.path.insert(0, str(_folder))

import anyio  # noqa: E402 - the folders of the tests come first
import real_gemini  # noqa: E402
import real_pi_cli  # noqa: E402
from real_cli_rig import CliRig, cli_rig  # noqa: E402

from agent_swarm_worker.contract import ToolStart  # noqa: E402
from agent_swarm_worker.providers.registry import create_provider  # noqa: E402

TEE = """
import json, pathlib, subprocess, sys, threading
folder = pathlib.Path(sys.argv[1])
out = folder / str(len(list(folder.iterdir())))
out.mkdir()
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
def copy(source, target, path):
    with path.open("wb") as file:
        for line in source:
            file.write(line); file.flush(); target.write(line); target.flush()
readers = [threading.Thread(target=copy, args=each) for each in (
    (child.stdout, sys.stdout.buffer, out / "stdout"),
    (child.stderr, sys.stderr.buffer, out / "stderr"),
)]
for each in readers: each.start()
for each in readers: each.join()
code = child.wait()
(out / "exit").write_text(str(code if code >= 0 else 128 - code))
sys.exit(code if code >= 0 else 128 - code)
"""
SESSION = "11111111-1111-4111-8111-111111111111"
STEERED = "[[bash:python3 -c 'import time; time.sleep(3)']]"
LONG_TOOL = "[[bash:python3 -c 'import time; time.sleep(30)']]"


@dataclass(frozen=True)
class Scenario:
    prompt: str
    before: str = ""
    """A prompt run first; the recorded run resumes its session."""
    resume: str = ""
    env: tuple[tuple[str, str], ...] = ()
    aborts: bool = False
    """Abort the session when it uses a tool."""
    effort: str | None = None
    model: str = ""
    steer: tuple[str, str] | None = None
    """Mode and text of a message for the session when it uses a tool."""


@dataclass(frozen=True)
class Recorded:
    """One harness whose streams are recorded."""

    program: Path
    binary: str
    """The variable that overrides the program."""
    env_of: Callable[..., dict[str, str]]
    shell: str
    model: str
    folder: Path
    scenarios: dict[str, Scenario]
    dropped: re.Pattern[str]
    """Lines without meaning for the translator."""


def _common(store: str) -> dict[str, Scenario]:
    return {
        "hello": Scenario("[[say:Hello from the model.]]", effort="low"),
        "bash": Scenario("[[bash:echo hi]] [[say:It said hi.]]"),
        "bash_fails": Scenario("[[bash:exit 3]] [[say:It failed.]]"),
        "no_such_tool": Scenario('[[tool:no_such_tool {"x":1}]] [[say:Gone.]]'),
        "swarm_tool": Scenario(f'[[tool:{store} {{"progress":"half"}}]] [[say:Stored.]]'),
        "resumed": Scenario("[[bash:echo hi]] [[say:Again.]]", before="[[say:Before.]]"),
        "resume_unknown": Scenario("hello", resume=SESSION),
        "error_401": Scenario("[[fail:401 API key not valid.]]"),
        "error_429": Scenario("[[fail:429 Resource has been exhausted. Retry after 120 seconds]]"),
        "error_500": Scenario("[[fail:500 Internal error encountered]]"),
        "error_too_long": Scenario("[[fail:400 input token count (2) exceeds the maximum (1)]]"),
        "cut": Scenario("[[cut]] [[say:Half an answer.]]"),
        "aborted": Scenario(LONG_TOOL, aborts=True),
    }


def harnesses() -> dict[str, Recorded]:
    """Return what is recorded of each harness."""
    return {
        "gemini": Recorded(
            program=real_gemini.PROGRAM,
            binary="GEMINI_BINARY",
            env_of=real_gemini.gemini_env,
            shell=real_gemini.SHELL,
            model="gemini-2.5-pro",
            folder=_TESTS / "providers/gemini/streams",
            scenarios={
                **_common(real_gemini.STORE),
                "no_key": Scenario("hello", env=(("GEMINI_API_KEY", ""), ("GOOGLE_API_KEY", "x"))),
            },
            dropped=re.compile(r"^[ }]|Warning: |YOLO mode|Ripgrep is not|color support"),
        ),
        "pi-cli": Recorded(
            program=real_pi_cli.PROGRAM,
            binary="PI_CLI_BINARY",
            env_of=real_pi_cli.pi_cli_env,
            shell=real_pi_cli.SHELL,
            model=real_pi_cli.MODEL,
            folder=_TESTS / "providers/pi_cli/streams",
            scenarios={
                **_common(real_pi_cli.STORE),
                "steered": Scenario(STEERED, steer=("steer", "By the way.")),
                "queued": Scenario(STEERED, steer=("queue", "By the way.")),
                "unknown_model": Scenario("hello", model="nonesuch/none"),
            },
            dropped=re.compile(r'"role":"system"|"type":"(?:message_update|entry_appended)"'),
        ),
    }


async def record(harness: Recorded, name: str, provider: str) -> None:
    """Run one scenario and write what was printed."""
    scenario = harness.scenarios[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch), Path(scratch, "out")
        out.mkdir()
        (folder / "tee.py").write_text(TEE)
        tee = [sys.executable, str(folder / "tee.py"), str(out), str(harness.program)]
        env_of = partial(harness.env_of, **{harness.binary: shlex.join(tee)})
        async with cli_rig(
            folder, harness.program, create_provider(provider), env_of, shell=harness.shell
        ) as rig:
            resume = scenario.resume or None
            if scenario.before:
                resume = (await rig.run(scenario.before, model=harness.model)).result.session_id
            changed: dict[str, Any] = {
                "model": scenario.model or harness.model,
                "resume_session_id": resume,
                "reasoning_effort": scenario.effort,
                "fresh_prompt": "[[say:Afresh.]]",
            }
            await _run(rig, scenario, changed)
            # A fresh start follows the one that could not resume.
            run = out / "0" if scenario.resume else max(out.iterdir())
            _write(harness, name, run, {scratch: "/scratch", rig.model.url: "URL"})


async def _run(rig: CliRig, scenario: Scenario, changed: dict[str, Any]) -> None:
    config = rig.config(scenario.prompt, env=dict(scenario.env), **changed)
    with contextlib.suppress(Exception):
        session = await rig.adapter.create_session(config)
        started = anyio.Event()
        session.on_event(lambda event: started.set() if isinstance(event, ToolStart) else None)
        async with anyio.create_task_group() as group:
            group.start_soon(session.wait_for_completion)
            if scenario.aborts:
                await started.wait()
                await session.abort()
            if scenario.steer:
                await started.wait()
                await session.deliver_steering(*scenario.steer)  # type: ignore[attr-defined, arg-type]


def _write(harness: Recorded, name: str, out: Path, places: dict[str, str]) -> None:
    harness.folder.mkdir(parents=True, exist_ok=True)
    for stream, suffix in (("stdout", "jsonl"), ("stderr", "stderr")):
        lines = (out / stream).read_text(errors="replace").splitlines()
        kept = [_tidied(line, places) for line in lines if not harness.dropped.search(line)]
        path = harness.folder / f"{name}.{suffix}"
        path.unlink(missing_ok=True)
        if kept:
            path.write_text("\n".join(kept) + "\n")
    codes_file = harness.folder / "exit_codes.json"
    codes = json.loads(codes_file.read_text()) if codes_file.exists() else {}
    exit_file = out / "exit"
    codes[name] = int(exit_file.read_text()) if exit_file.exists() else 137
    codes_file.write_text(json.dumps(codes, indent=1, sort_keys=True) + "\n")
    print(f"{name}: exit code {codes[name]}")


def _tidied(line: str, places: dict[str, str]) -> str:
    for place, shown in places.items():
        line = line.replace(place, shown)
    line = re.sub(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", SESSION, line)
    return re.sub(r"2\d{3}-\d\d-\d\dT[\d:.-]+Z", "2026-11-20T12:00:00.000Z", line)


async def main(provider: str, *names: str) -> None:
    """Record the named scenarios of a harness, or all."""
    harness = harnesses()[provider]
    for name in names or harness.scenarios:
        await record(harness, name, provider)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
