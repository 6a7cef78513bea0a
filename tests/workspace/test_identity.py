"""The profile at boot, its files, and sending edits back."""

from __future__ import annotations

import json
import os
import stat

import anyio
import pytest

from agent_swarm_worker.api.wire.resources import Agent
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ApiRefused, ApiUnreachable
from agent_swarm_worker.workspace.identity import (
    MIN_PERSONA_CHARS,
    Baselines,
    ProfileSync,
    managed_part,
    missing_texts,
    profile_lock,
    profile_of,
    read_files,
    store_missing,
    write_files,
)
from agent_swarm_worker.workspace.profiles import (
    AgentDetails,
    AgentTemplate,
    default_profile,
    is_default,
)

pytestmark = pytest.mark.anyio

FACTS = AgentDetails(name="Ada", role="tester", capabilities=("pytest", "git"))
LONG = "I am Ada. " * 60


class Server:
    def __init__(self, *, refuses=(), error=None):
        self.refuses, self.error = refuses, error
        self.puts = []

    async def profile(self, agent_id, fields, *, change_source=None):
        await anyio.sleep(0.02)  # as long as others need to get in between
        self.puts.append((agent_id, dict(fields), change_source))
        if self.error:
            raise self.error
        for field in fields:
            if field in self.refuses:
                raise ApiRefused("u", 400, f"{field} is over its budget")

    def fields(self):
        return [field for _, fields, _ in self.puts for field in fields]


# --- filling in


async def test_only_missing_fields_are_stored(tmp_path):
    server = Server()
    agent = Agent(id="a", soul_md="my soul", tools_md=" \n")
    missing = missing_texts(profile_of(agent), FACTS)
    await store_missing(server, "a", missing)
    assert server.puts == [("a", missing, None)]
    assert set(missing) == {"identityMd", "toolsMd", "claudeMd"}
    assert "Ada" in missing["identityMd"]


async def test_a_complete_profile_is_left_alone():
    server = Server()
    whole = {"soulMd": "s", "identityMd": "i", "toolsMd": "t", "claudeMd": "c"}
    missing = missing_texts(whole, FACTS)
    await store_missing(server, "a", missing)
    assert missing == {}
    assert server.puts == []


def test_a_role_template_goes_before_generated_texts():
    files = {"soulMd": "{{agent.name}}: {{agent.capabilities}}", "setupScript": "x", "evil": "y"}
    missing = missing_texts({}, FACTS, AgentTemplate(files=files))
    assert missing["soulMd"] == "Ada: pytest, git"
    assert missing["setupScript"] == "x"
    assert "evil" not in missing


async def test_a_server_that_cannot_be_written_ends_nothing():
    server = Server(error=ApiUnreachable("u", "down", ambiguous=True))
    await store_missing(server, "a", missing_texts({}, FACTS))
    assert "soulMd" in server.fields()


def test_generated_texts_are_recognised_until_they_are_edited():
    texts = default_profile(FACTS)
    for field, text in texts.items():
        assert is_default(field, text.replace("\n", "\r\n  "), FACTS)
        assert not is_default(field, text + "more", FACTS)
    assert not is_default("soulMd", texts["soulMd"], AgentDetails(name="Bob"))
    assert all("\u2014" not in text for text in texts.values())
    bare = default_profile(AgentDetails(name="A"))
    # An agent that only adds to these must not be below the least that is brought back.
    assert min(len(bare["soulMd"]), len(bare["identityMd"])) >= MIN_PERSONA_CHARS


# --- files


async def test_files_are_written_and_a_differing_one_is_kept_aside(tmp_path):
    (tmp_path / "SOUL.md").write_text("edited here")
    (tmp_path / "IDENTITY.md").write_text("same")
    profile = {"soulMd": "from the server", "identityMd": "same", "setupScript": "make it so"}
    written = await write_files(tmp_path, profile, SystemClock())
    assert {path.name for path in written} == {"SOUL.md", "start-up.sh"}
    assert (tmp_path / "SOUL.md").read_text() == "from the server"
    [backup] = tmp_path.glob("*.bak")
    assert backup.name.startswith("SOUL.md.pre-boot-20")
    assert backup.read_text() == "edited here"
    script = tmp_path / "start-up.sh"
    assert script.read_text() == "#!/bin/bash\nmake it so"
    assert script.stat().st_mode & stat.S_IXUSR
    script.write_text("mine")
    await write_files(tmp_path, profile, SystemClock())
    assert script.read_text() == "mine"


async def test_without_a_workspace_nothing_is_written(tmp_path):
    assert await write_files(tmp_path / "gone", {"soulMd": "x"}, SystemClock()) == []
    assert list(tmp_path.iterdir()) == []


async def test_one_file_that_cannot_be_written_does_not_hold_back_the_others(tmp_path):
    (tmp_path / "SOUL.md").mkdir()
    written = await write_files(tmp_path, {"soulMd": "x", "toolsMd": "y"}, SystemClock())
    assert [path.name for path in written] == ["TOOLS.md"]


async def test_backups_do_not_fill_the_workspace(tmp_path):
    (tmp_path / "SOUL.md.bak").write_text("somebody else's")
    for day in range(1, 10):
        (tmp_path / f"SOUL.md.pre-boot-2020-01-0{day}T00:00:00.000Z.bak").write_text(f"old {day}")
    (tmp_path / "SOUL.md").write_text("edited here")
    await write_files(tmp_path, {"soulMd": "from the server"}, SystemClock())
    backups = sorted(tmp_path.glob("SOUL.md.pre-boot-*.bak"))
    assert [path.read_text() for path in backups] == [
        *(f"old {day}" for day in (6, 7, 8, 9)),
        "edited here",
    ]
    assert (tmp_path / "SOUL.md.bak").exists()


async def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "SOUL.md")
    os.mkfifo(tmp_path / "TOOLS.md")
    with anyio.fail_after(5):
        assert await read_files(tmp_path) == {}
        await write_files(tmp_path, {"soulMd": "from the server"}, SystemClock())
    assert (tmp_path / "SOUL.md").read_text() == "from the server"


def test_of_two_workers_in_one_workspace_one_keeps_its_profile_there(tmp_path):
    with profile_lock(tmp_path) as first, profile_lock(tmp_path) as second:
        assert (first, second) == (True, False)
    with profile_lock(tmp_path) as later:
        assert later
    with profile_lock(tmp_path / "gone") as nowhere:
        assert not nowhere


# --- edits


@pytest.fixture
def sync(tmp_path, redactor):
    """A workspace as boot leaves it, and a way to end a session in it."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    baselines = Baselines(tmp_path / "state" / "baselines.json")
    booted = {
        "soulMd": LONG,
        "identityMd": LONG,
        "toolsMd": "tools",
        "heartbeatMd": "beat",
        "claudeMd": "notes",
    }
    for field, name in (
        ("soulMd", "SOUL"),
        ("identityMd", "IDENTITY"),
        ("toolsMd", "TOOLS"),
        ("heartbeatMd", "HEARTBEAT"),
        ("claudeMd", "CLAUDE"),
    ):
        (workspace / f"{name}.md").write_text(booted[field])
    baselines.record(booted)

    def make(server):
        sync = ProfileSync(server, "a", workspace, baselines, redactor)
        sync.workspace = workspace
        return sync

    return make


async def test_nothing_edited_nothing_sent(sync):
    server = Server()
    assert await sync(server).sync() == []
    assert server.puts == []


async def test_each_edited_field_is_sent_once_and_by_itself(sync):
    server = Server()
    session = sync(server)
    (session.workspace / "SOUL.md").write_text(LONG + "more")
    (session.workspace / "TOOLS.md").write_text("new tools")
    assert await session.sync() == ["soulMd", "toolsMd"]
    assert [(list(fields), source) for _, fields, source in server.puts] == [
        (["soulMd"], "session_sync"),
        (["toolsMd"], "session_sync"),
    ]
    assert await session.sync() == []
    assert len(server.puts) == 2


async def test_a_field_over_budget_does_not_hold_back_the_others_and_is_not_sent_twice(sync):
    server = Server(refuses={"soulMd"})
    session = sync(server)
    (session.workspace / "SOUL.md").write_text(LONG + "more")
    (session.workspace / "TOOLS.md").write_text("new tools")
    assert await session.sync() == ["toolsMd"]
    assert await session.sync() == []
    assert server.fields() == ["soulMd", "toolsMd"]
    (session.workspace / "SOUL.md").write_text(LONG + "less")
    await session.sync()
    assert server.fields() == ["soulMd", "toolsMd", "soulMd"]


async def test_what_a_dead_server_missed_is_sent_the_next_time(sync):
    server = Server(error=ApiUnreachable("u", "down", ambiguous=True))
    session = sync(server)
    (session.workspace / "TOOLS.md").write_text("new tools")
    assert await session.sync() == []
    server.error = None
    assert await session.sync() == ["toolsMd"]


async def test_an_edit_of_a_session_that_was_killed_is_sent_at_the_next_boot(sync):
    server = Server()
    session = sync(server)
    (session.workspace / "TOOLS.md").write_text("new tools")
    stored = {"soulMd": LONG, "toolsMd": "tools"}
    assert await session.rescue(stored) == {"soulMd": LONG, "toolsMd": "new tools"}
    assert server.puts == [("a", {"toolsMd": "new tools"}, "session_sync")]


async def test_what_the_lead_changed_meanwhile_is_not_overwritten_at_the_next_boot(sync):
    server = Server()
    session = sync(server)
    (session.workspace / "TOOLS.md").write_text("new tools")
    stored = {"soulMd": LONG, "toolsMd": "by the lead"}
    assert await session.rescue(stored) == stored
    assert server.puts == []


async def test_at_a_first_boot_nothing_counts_as_an_edit(tmp_path, redactor):
    server = Server()
    (tmp_path / "SOUL.md").write_text(LONG)
    baselines = Baselines(tmp_path / "baselines.json")
    session = ProfileSync(server, "a", tmp_path, baselines, redactor)
    assert await session.rescue({"soulMd": "of this agent"}) == {"soulMd": "of this agent"}
    assert server.puts == []


async def test_a_start_up_script_that_was_there_before_does_not_replace_the_leads(sync):
    server = Server()
    session = sync(server)
    script = session.workspace / "start-up.sh"
    script.write_text("#!/bin/bash\nold")
    await session.begin({"setupScript": "by the lead", "soulMd": LONG})
    assert await session.sync() == []
    script.write_text("#!/bin/bash\nedited")
    assert await session.sync() == ["setupScript"]


async def test_a_file_that_boot_could_not_write_is_no_edit(sync):
    server = Server()
    session = sync(server)
    await session.begin({"soulMd": "newer on the server", "toolsMd": "tools"})
    assert await session.sync() == []


@pytest.mark.parametrize(
    ("name", "text", "sent"),
    [
        ("SOUL.md", "x" * 499, False),
        ("SOUL.md", "x" * 500, True),
        ("IDENTITY.md", "short", False),
        ("TOOLS.md", " \n", False),
        ("HEARTBEAT.md", "", True),
        ("HEARTBEAT.md", "x" * 262_144, True),
        ("HEARTBEAT.md", "x" * 262_145, False),
        ("CLAUDE.md", " ", False),
        ("CLAUDE.md", "é" * 2_000_000, False),
    ],
)
async def test_what_is_fit_to_be_sent(sync, name, text, sent):
    server = Server()
    session = sync(server)
    (session.workspace / name).write_text(text)
    assert bool(await session.sync()) == sent


async def test_sessions_that_end_together_send_once(sync):
    server = Server()
    session = sync(server)
    (session.workspace / "TOOLS.md").write_text("new tools")
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(session.sync)
    assert server.fields() == ["toolsMd"]


async def test_secrets_stay_here(sync):
    secret = "s3cr3t-value-of-the-operator"
    server = Server()
    session = sync(server)
    (session.workspace / "TOOLS.md").write_text(f"key: {secret}")
    (session.workspace / "start-up.sh").write_text(f"#!/bin/bash\nexport KEY={secret}\n")
    assert await session.sync() == ["toolsMd"]
    assert secret not in json.dumps(server.puts)
    assert await session.sync() == []


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("#!/bin/bash\napt install x\n", "apt install x\n"),
        ("#!/usr/bin/env bash\na", "a"),
        ("#!/usr/bin/python\na", "#!/usr/bin/python\na"),
        (
            "#!/bin/bash\nmine\n# === Agent-managed setup (from DB) ===\ntheirs\n"
            "# === End agent-managed setup ===\nmine too",
            "theirs",
        ),
        ("", ""),
    ],
)
def test_which_part_of_a_start_up_script_is_the_profiles(script, part):
    assert managed_part(script) == part


async def test_an_unchanged_start_up_script_is_not_sent(sync):
    server = Server()
    session = sync(server)
    (session.workspace / "start-up.sh").write_text("#!/bin/bash\nmake it so")
    assert await session.sync() == ["setupScript"]
    assert server.puts[0][1] == {"setupScript": "make it so"}
    assert await session.sync() == []


async def test_baselines_survive_a_restart_privately_and_broken_ones_are_ignored(tmp_path):
    path = tmp_path / "state" / "baselines.json"
    Baselines(path).record({"soulMd": "x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Baselines(path).is_unchanged("soulMd", "x")
    assert not Baselines(path).is_unchanged("soulMd", "y")
    for broken in (b"", b"{", b"[]", b"\xff"):
        path.write_bytes(broken)
        assert not Baselines(path).is_unchanged("soulMd", "x")


async def test_a_baseline_that_cannot_be_stored_still_counts_for_this_process(tmp_path):
    (tmp_path / "file").touch()
    baselines = Baselines(tmp_path / "file" / "baselines.json")
    baselines.record({"soulMd": "x"})
    assert baselines.is_unchanged("soulMd", "x")
