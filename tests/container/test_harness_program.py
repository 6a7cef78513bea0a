"""The check of the harness's program finds it as the worker does."""

from __future__ import annotations

import subprocess
import sys

import pytest
from container_rig import COMMAND, Box, ScriptedApi

OPTIONAL = (
    "genai_prices",
    "mcp",
    "openai",
    "anthropic",
    "pydantic_ai",
    "starlette",
    "tiktoken",
    "uvicorn",
)


def test_a_missing_program_ends_the_boot_and_names_the_path(box: Box):
    done = box.prepare(command=("echo", "started"), HARNESS_PROVIDER="claude")
    assert (done.code, done.out) == (1, "")
    [line] = [line for line in done.err.splitlines() if "FATAL" in line]
    assert line.startswith("[entrypoint] FATAL: claude CLI not found (claude: ")
    assert f"PATH={box.env['PATH']}" in line


def test_a_missing_credential_does_not_end_the_boot(box: Box):
    """The worker registers, and waits for it."""
    box.program("claude", "#!/bin/sh\n")
    assert box.prepare(HARNESS_PROVIDER="claude").code == 0


def test_a_program_that_a_set_up_script_installs_counts(box: Box, api: ScriptedApi):
    api.scripts(
        own=f"printf '#!/bin/sh\\n' > {box.programs}/claude; chmod +x {box.programs}/claude"
    )
    assert box.prepare(HARNESS_PROVIDER="claude").code == 0


def test_the_harness_that_the_swarm_configures_is_the_one_looked_for(box: Box, api: ScriptedApi):
    api.rows(HARNESS_PROVIDER="claude", CLAUDE_BINARY="my-claude --flag")
    assert "claude CLI not found" in box.prepare().err
    box.program("my-claude", "#!/bin/sh\n")
    assert box.prepare().code == 0


@pytest.mark.parametrize("name", ["claude", "subprocess"])
def test_a_harness_starts_without_the_libraries_of_the_others(name: str):
    """Importing one provider used to need the SDK of another one."""
    code = f"""
import sys
class Nothing:
    def find_spec(self, name, *_):
        if name.partition('.')[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import agent_swarm_worker.cli.run, agent_swarm_worker.cli.prepare, agent_swarm_worker.cli.health
from agent_swarm_worker.providers.registry import create_provider
print(create_provider({name!r}).name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout.decode().strip() == name, done.stderr.decode()


def test_an_unknown_harness_is_told_with_the_known_ones(box: Box):
    done = box.call([*COMMAND, "prepare", "--user", "root"], HARNESS_PROVIDER="nonsense")
    assert done.code == 78
    assert "Supported:" in done.err
    assert "Traceback" not in done.err
