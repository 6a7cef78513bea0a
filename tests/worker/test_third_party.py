"""A provider of another distribution works in full through its specification."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from owl_provider import GIVEN
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.credentials.pools import session_env
from agent_swarm_worker.providers.registry import create_provider, known_specs, spec_of

pytestmark = pytest.mark.anyio

OWL = {"HARNESS_PROVIDER": "owl", "OWL_IN_PROCESS": "1"}
KEYS = "owl-key-of-the-first-AAAAA, owl-key-of-the-second-BBBBB"


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the distribution: what `pip` would leave behind."""
    place = tmp_path / "site"
    info = place / "owl_provider-3.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: owl-provider\nVersion: 3.0\n")
    (info / "entry_points.txt").write_text(
        "[agent_swarm_worker.providers]\nowl = owl_provider:OwlAdapter\n"
        "[agent_swarm_worker.specs]\nowl = owl_provider:SPEC\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    yield place
    GIVEN.clear()


async def limit(rig: Rig, index: int, suffix: str) -> None:
    body = {"keyType": "OWL_KEY", "keySuffix": suffix, "keyIndex": index}
    body["rateLimitedUntil"] = "2999-01-01T00:00:00.000Z"
    await rig.post("/api/keys/report-rate-limit", body, **{"X-Agent-ID": AGENT})


async def test_its_pool_tier_window_and_labels(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await limit(rig, 0, "AAAAA")
        foreign = {"CLAUDE_CODE_OAUTH_TOKEN": "a-login-of-a-person", "OPENAI_API_KEY": "a,b"}
        async with running_worker(rig, {**OWL, "OWL_KEY": KEYS, **foreign}):
            row = await rig.until_ended(await rig.submit(modelTier="smart"))
            await rig.settled(row["id"])
        assert row["status"] == "completed"
        # The tier's model, as the session got it.
        assert row["output"] == "eagle-owl-2"
        # One key of the two, and not the limited one; nothing that is meant for other harnesses.
        given = GIVEN[row["id"]]
        assert given["OWL_KEY"] == "owl-key-of-the-second-BBBBB"
        assert not set(foreign) & set(given)
        used = [visit.json() for visit in proxy.seen("POST /api/keys/report-usage")]
        assert [(it["keyType"], it["keyIndex"], it["keySuffix"]) for it in used] == [
            ("OWL_KEY", 1, "BBBBB")
        ]
        # How full its model's context window is, by a table of its own.
        snapshots = [visit.json() for visit in proxy.seen(f"POST /api/tasks/{row['id']}/context")]
        assert snapshots[0]["contextTotalTokens"] == 123_000
        assert snapshots[0]["contextPercent"] == 10.0
        progress = [visit.json() for visit in proxy.seen(f"POST /api/tasks/{row['id']}/progress")]
        assert "📖 Reading hollow/tree.txt" in [it["progress"] for it in progress]


async def test_its_login_of_a_person_is_withheld_from_others(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        note = tmp_path / "note"
        script = "import json, os; json.dump(dict(os.environ), open(os.environ['NOTE'], 'w'))"
        env = {**rig.agent(script), "NOTE": str(note), "OWL_LOGIN": "mine", "OWL_KEY": KEYS}
        async with running_worker(rig, {**OWL, **env, "HARNESS_PROVIDER": "subprocess"}):
            await rig.until_ended(await rig.submit())
        # A program of which nothing is known sees everything, as ever.
        assert json.loads(note.read_text())["OWL_LOGIN"] == "mine"
    all_credentials = [spec.credentials for spec in known_specs()]
    codex = session_env(spec_of("codex").credentials, env, [], all_credentials)
    assert not {"OWL_LOGIN", "OWL_KEY"} & set(codex)


async def test_its_limit_is_reported_by_its_own_words(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with running_worker(rig, {**OWL, "OWL_KEY": "owl-key-of-the-only-CCCCC"}):
            row = await rig.until_ended(await rig.submit("be greedy"))
            await rig.settled(row["id"])
        assert row["status"] == "failed"
        (told,) = [visit.json() for visit in proxy.seen("POST /api/keys/report-rate-limit")]
        assert (told["keyType"], told["keySuffix"]) == ("OWL_KEY", "CCCCC")


async def test_what_it_says_when_it_hangs(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = {**OWL, "OWL_KEY": "k-DDDDD", "SWARM_SESSION_SILENCE_S": "0.5"}
        async with running_worker(rig, env):
            row = await rig.until_ended(await rig.submit("get lost"))
        assert row["failureReason"].startswith("awaiting_input: ")


async def test_its_skills_folder_is_filled_whichever_harness_runs(tmp_path: Path):
    env = harness("says_hi", SWARM_SYNC_SKILLS="true")
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        await rig.until_ended(await rig.submit())
        assert (tmp_path / "home/.owl/lore/work-on-task/SKILL.md").is_file()


def test_what_doctor_says_of_it(site: Path, tmp_path: Path):
    paths = os.pathsep.join([str(site), str(Path(__file__).parent)])
    env = {"PATH": "/nowhere", "HOME": str(tmp_path), "HARNESS_PROVIDER": "owl"}
    done = subprocess.run(
        [sys.executable, "-m", "agent_swarm_worker.cli.app", "doctor", "--json"],
        env={**env, "PYTHONPATH": paths, "MCP_BASE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    found = {it["check"]: it for it in json.loads(done.stdout)}
    assert found["harness"]["state"] == "fail"
    assert "owl-agent" in found["harness"]["detail"]
    assert found["harness"]["advice"].startswith("pip install owl-agent==7.1")


def test_what_the_adapter_and_the_entry_point_say_is_one_thing():
    assert create_provider("owl").spec == spec_of("owl")
