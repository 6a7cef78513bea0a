"""Shell commands, as the policies judge them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import anyio
import pytest

from agent_swarm_worker.contract import PermissionRequest
from agent_swarm_worker.guards.permissions.call import Places, read_call
from agent_swarm_worker.guards.permissions.decision import decide
from agent_swarm_worker.guards.permissions.policy import Policy, Rule

CASES = tomllib.loads(Path(__file__).with_name("shell_commands.toml").read_text())["verdicts"]
RULES = (
    Rule(effect="deny", commands=("rm", "git push")),
    Rule(effect="ask", commands=("curl",)),
    Rule(effect="allow", commands=("git", "ls", "cat", "make test", "cd", "echo", "find")),
    Rule(effect="allow", commands=("sudo apt-get",)),
    Rule(effect="allow", actions=("write",), paths=("build/",)),
)


async def _resolved(path: str) -> str:
    return str(Path(path).resolve())


def verdict(command: object, policy: Policy, cwd: str = "/work") -> str:
    places = Places(cwd=cwd, real_cwd=cwd, directories=(cwd,), real_path=_resolved)
    request = PermissionRequest(tool_name="Bash", args={"command": command})
    return decide(anyio.run(read_call, request, {}, places), policy).effect


@pytest.mark.parametrize(("command", "read_only", "rules", "asks"), CASES)
def test_verdicts_of_shell_commands(command: str, read_only: str, rules: str, asks: str) -> None:
    assert verdict(command, Policy(mode="read-only")) == read_only
    assert verdict(command, Policy(mode="rules", rules=RULES)) == rules
    assert verdict(command, Policy(mode="ask", rules=RULES)) == asks
    if command:  # a shell without a command does nothing
        in_a_shell = verdict(["bash", "-lc", command], Policy(mode="rules", rules=RULES))
        assert in_a_shell == rules
    assert verdict(command, Policy()) == "allow"
