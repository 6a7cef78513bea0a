"""Permissions and tools of harness profiles: which of two count, what reaches a session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asking_provider import SERVERS, install
from rig import Rig, running_worker, swarm_rig
from worker_process import worker_process

from agent_swarm_worker.guards.permissions.policy import Policy
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.run.session_profile import stricter

pytestmark = pytest.mark.anyio

ALLOWS = ({"effect": "allow", "commands": ["git"]},)
DENIES = ({"effect": "deny", "paths": ["secret"]}, *ALLOWS)


def policy(mode: str, rules: Any = (), timeout_s: float = 60.0) -> Policy:
    return Policy.model_validate({"mode": mode, "rules": rules, "approval_timeout_s": timeout_s})


BYPASS, READS = policy("bypass"), policy("read-only")


@pytest.mark.parametrize(
    ("one", "other", "strict"),
    [
        (BYPASS, BYPASS, BYPASS),
        (BYPASS, READS, READS),
        (BYPASS, policy("ask", DENIES), policy("ask", DENIES)),
        (READS, policy("ask", ALLOWS), READS),
        (READS, policy("ask"), READS),
        (policy("rules", DENIES), policy("ask", DENIES), policy("rules", DENIES)),
        (policy("ask", (), 60), policy("ask", (), 5), policy("ask", (), 5)),
        # Each of the two forbids what the other allows.
        (READS, policy("rules", ALLOWS), None),
        (READS, policy("ask", DENIES), None),
        (policy("rules", ALLOWS), policy("rules", DENIES), None),
        (policy("ask", ALLOWS), policy("rules", DENIES), None),
    ],
)
def test_the_stricter_of_two(one: Policy, other: Policy, strict: Policy | None):
    assert stricter(one, other) == strict
    assert stricter(other, one) == strict


def env_of(rig: Rig, text: str, **env: str) -> dict[str, str]:
    path = rig.place / "profiles.toml"
    path.write_text(text)
    return {**ASKING, "SWARM_HARNESS_PROFILES": str(path), **env}


ASKING = {"HARNESS_PROVIDER": "asking"}


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a harness that asks about every call and tells the policy of its session."""
    install(monkeypatch)


async def mode_of(rig: Rig, **task: Any) -> str:
    """Run a task; return the policy of its session, or why it failed."""
    row = await rig.until_ended(await rig.submit(**task))
    await rig.settled(row["id"])
    return str(row["output"] if row["status"] == "completed" else row["failureReason"])


async def test_a_tag_never_weakens_the_permissions(tmp_path: Path, asking: None) -> None:
    text = """
    [asking.default.permissions]
    policy = "read-only"
    [asking.free]
    [asking.open.permissions]
    policy = "bypass"
    [asking.asks.permissions]
    policy = "ask"
    [asking.other.permissions]
    policy = "rules"
    rules = [{effect = "allow", commands = ["git"]}]
    """
    async with swarm_rig(tmp_path) as rig:
        env = env_of(rig, text, HARNESS_PROFILE_TASK_CHOICES="free,open,asks,other")
        async with running_worker(rig, env):
            assert await mode_of(rig) == "read-only"
            for name in ("free", "open", "asks"):
                assert await mode_of(rig, tags=[f"profile:{name}"]) == "read-only"
            assert "cannot be compared" in await mode_of(rig, tags=["profile:other"])


async def test_a_tag_may_tighten_them(tmp_path: Path, asking: None) -> None:
    text = '[asking.tight.permissions]\npolicy = "read-only"'
    async with swarm_rig(tmp_path) as rig:
        env = env_of(rig, text, HARNESS_PROFILE_TASK_CHOICES="tight")
        async with running_worker(rig, env):
            assert await mode_of(rig) == "none"
            assert await mode_of(rig, tags=["profile:tight"]) == "read-only"
        paths = sorted(tmp_path.glob("state/**/logs/**/*.jsonl"), key=lambda it: it.stat().st_mtime)
        heads = [json.loads(path.read_text().splitlines()[0]) for path in paths]
    assert [(it["harnessProfile"], it["permissions"]) for it in heads] == [
        ("asking:default", None),
        ("asking:tight", "read-only"),
    ]


async def test_the_profile_goes_before_the_workers_variables(tmp_path: Path, asking: None) -> None:
    text = '[asking.open.permissions]\npolicy = "bypass"\n[asking.same]'
    async with swarm_rig(tmp_path) as rig:
        for name, mode in (("open", "none"), ("same", "read-only")):
            chosen = {"HARNESS_PROFILE": f"asking:{name}", "SWARM_PERMISSIONS": "read-only"}
            async with running_worker(rig, env_of(rig, text, **chosen)):
                assert await mode_of(rig) == mode


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('policy = "read-only"', "never asks for permission"),
        ('policy = "rules"', "it has no rules: everything would be denied"),
    ],
)
async def test_a_worker_does_not_start_with_permissions_that_cannot_be_kept(
    tmp_path: Path, table: str, why: str
) -> None:
    async with swarm_rig(tmp_path) as rig:
        env = env_of(rig, f"[subprocess.x.permissions]\n{table}", HARNESS_PROFILE="subprocess:x")
        env |= {"HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": "true"}
        async with worker_process(tmp_path, {**rig.env, **env}) as worker:
            assert await worker.exit_code() == 78
        assert why in " ".join(worker.lines())


async def test_a_profile_names_the_tools_of_its_sessions(tmp_path: Path, asking: None) -> None:
    tools = tmp_path / "tools.toml"
    tools.write_text('[tools.look]\ndescription = "Looks."\ncommand = ["true"]')
    text = """
    [asking.none]
    tools = []
    [asking.looks]
    tools = ["look", "gone"]
    """
    async with swarm_rig(tmp_path) as rig:
        env = env_of(rig, text, SWARM_TOOLS_FILE=str(tools))
        async with running_worker(rig, env | {"HARNESS_PROFILE_TASK_CHOICES": "none,looks"}):
            found = []
            for tag in ("x", "profile:none", "profile:looks"):
                task_id = await rig.submit(tags=[tag])
                await rig.until_ended(task_id)
                found.append("swarm-tools" in SERVERS[task_id])
        assert found == [True, False, True]
        (line,) = [it for it in rig.logged(Event.MCP_CONFIG) if it.get("tool") == "gone"]
        assert "names no tool" in line["why"]
