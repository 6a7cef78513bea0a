"""Check the promises of an adapter that need no harness fixture."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import anyio

from agent_swarm_worker.api.wire.harness_names import SESSION_NAMES
from agent_swarm_worker.conformance.checks import check
from agent_swarm_worker.conformance.session_fixture import (
    SESSION_S,
    SOON_S,
    SessionFixture,
    broken,
    described,
    within,
)
from agent_swarm_worker.contract import HarnessSpec, ProviderAdapter
from agent_swarm_worker.errors import ConfigError, ProviderError, SwarmWorkerError
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.registry import spec_of
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.settings import TIERS

IMPORT_CPU_S = 2.0
"""Limit of the processor time of the import, which delays every start of the worker."""
HOSTILE_IDS = (
    "",
    " ",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\0b",
    "-x",
    "é" * 300,
    "x" * 5000,
)
_IMPORT = """
import sys, time
from agent_swarm_worker.providers.registry import create_provider
began = time.process_time()
try: create_provider(sys.argv[1])
except Exception: pass
print(time.process_time() - began)
"""


@check
async def it_is_an_adapter(fixture: SessionFixture) -> None:
    """It has every member of `ProviderAdapter`, and the name of its entry point."""
    if not isinstance(fixture.adapter, ProviderAdapter):
        broken("members of ProviderAdapter are missing")
    if fixture.adapter.name != fixture.name:
        broken(f"its name is {fixture.adapter.name!r}")


@check
async def its_import_is_quick(fixture: SessionFixture) -> None:
    """Importing it takes little processor time: heavy libraries are imported where used."""
    answer = await within(
        SESSION_S,
        "the import did not end",
        lambda: _run([sys.executable, "-c", _IMPORT, fixture.name]),
    )
    took_s = float(answer or "nan")
    if not took_s <= IMPORT_CPU_S:
        broken(f"importing it takes {took_s:.1f} s of processor time")


@check
async def its_spec_is_sane(fixture: SessionFixture) -> None:
    """`spec` is a `HarnessSpec` of its name whose values the worker can use."""
    spec = fixture.adapter.spec
    if not _is(spec, HarnessSpec):
        broken(f"its spec is a {type(spec).__name__}")
    if spec.name != fixture.name:
        broken(f"its spec is that of {spec.name!r}")
    if strange := set(spec.capabilities.steer_modes) - {"steer", "queue"}:
        broken(f"there are no steer modes {sorted(strange)}")
    if spec.wire_name and spec.server_name not in SESSION_NAMES:
        broken(f"the server does not know the wire name {spec.wire_name!r}")
    if not all(_is(name, str) and name for name in spec.credentials.variables):
        broken("credentials.variables does not consist of names of variables")
    if tiers := set(spec.models.tiers) - set(TIERS):
        broken(f"there are no tiers {sorted(tiers)}")
    if classes := set(spec.error_texts) - set(ErrorClass):
        broken(f"there are no error classes {sorted(classes)}")
    for folder in (*spec.skills.folders, *spec.skills.command_folders, *spec.home_files):
        if folder.startswith("/") or ".." in folder.split("/"):
            broken(f"{folder!r} is not below the home directory")


@check
async def its_spec_is_the_one_that_is_installed(fixture: SessionFixture) -> None:
    """The spec found by its entry point is the adapter's own."""
    if spec_of(fixture.name) != fixture.adapter.spec:
        broken("the entry point of the group agent_swarm_worker.specs names another spec")


@check
async def a_command_is_one_line(fixture: SessionFixture) -> None:
    """`format_command` returns one line that names the command."""
    command = fixture.adapter.format_command("work-on-task")
    if not _is(command, str) or "work-on-task" not in command or len(command.splitlines()) != 1:
        broken(f"for work-on-task it is {command!r}")


@check
async def check_says_what_is_missing(fixture: SessionFixture) -> None:
    """`check` with an empty environment returns, or raises `ConfigError` or `ProviderError`."""
    try:
        async with fixture.sandbox.open(GuestSpec(name=str(uuid4()))) as guest:
            await fixture.adapter.check({}, guest)
    except (ConfigError, ProviderError) as error:
        if not str(error).strip():
            broken(f"its {type(error).__name__} has no message")
    except Exception as error:
        broken(f"check({{}}) raised {error!r}")


@check
async def no_made_up_session_can_be_resumed(fixture: SessionFixture) -> None:
    """`can_resume` returns false for ids that are none of its sessions, and never raises."""
    config = await fixture.config("")
    for session_id in (*HOSTILE_IDS, config.session_uuid):
        try:
            can = await fixture.adapter.can_resume(session_id, config)
        except Exception as error:
            broken(f"can_resume({session_id[:40]!r}) raised {error!r}")
        if can is not False:
            broken(f"can_resume({session_id[:40]!r}) is {can!r}")


@check
async def without_a_program_there_is_no_traceback(fixture: SessionFixture) -> None:
    """Without the program or its configuration a session fails with a reason, not a traceback."""
    config = await fixture.config(
        "hello", env={"PATH": "/nonexistent", "HOME": str(fixture.folder)}
    )
    try:
        session = await fixture.adapter.create_session(config)
    except SwarmWorkerError as error:
        if not isinstance(error, ProviderError | ConfigError):
            broken(f"create_session raised {error!r}, which is no ProviderError")
        return
    except Exception as error:
        broken(f"create_session raised {error!r}")
    result = await within(SESSION_S, "the session did not end", session.wait_for_completion)
    if not result.is_error or not (result.failure_reason or "").strip():
        broken(f"it ended without a reason: {described(result)}")


@check
async def an_abort_before_the_start_is_heeded(fixture: SessionFixture) -> None:
    """A session that was aborted before `wait_for_completion` ends at once, as a failure."""
    try:
        observed = await fixture.session("hello")
    except (ProviderError, ConfigError):
        return
    await within(SOON_S, "abort did not return", observed.session.abort)
    await within(SOON_S, "it went on all the same", observed.finish)
    if not observed.result.is_error:
        broken(f"it ended well: {described(observed.result)}")


def _is(value: object, kind: type) -> bool:
    """Check a type that the type checker takes for granted."""
    return isinstance(value, kind)


async def _run(argv: list[str]) -> str:
    done = await anyio.run_process(argv, check=False, stderr=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace").strip()
