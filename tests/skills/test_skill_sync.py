"""Synchronising skills with the server."""

from __future__ import annotations

import anyio
import pytest

from agent_swarm_worker.api.wire.resources import Skill, SkillFile
from agent_swarm_worker.errors import ApiGarbled, ApiRefused, ApiUnreachable
from agent_swarm_worker.skills.sync import SkillSync

pytestmark = pytest.mark.anyio

FOLDERS = (".claude/skills", ".codex/skills", ".agents/skills")

DOWN = ApiUnreachable("u", "refused", ambiguous=False)
BROKEN = ApiRefused("u", 500, "boom")


def skill(name, *, body="body", **more):
    content = f"---\nname: {name}\ndescription: does {name}\n---\n{body}\n"
    return Skill(**{"id": f"id-{name}", "name": name, "content": content, **more})


class Server:
    def __init__(self, *skills, files=None, signature="one"):
        self.installed, self.bundled, self.signature = list(skills), files or {}, signature
        self.errors = {}
        self.calls = []

    async def _answer(self, call, value):
        self.calls.append(call)
        await anyio.lowlevel.checkpoint()
        if call in self.errors:
            raise self.errors[call]
        return value

    async def skills_signature(self, agent_id):
        return await self._answer("signature", self.signature)

    async def skills(self, agent_id):
        return await self._answer("list", self.installed)

    async def skill_files(self, skill_id):
        files = self.bundled.get(skill_id, ())
        return await self._answer("files", files)

    async def skill_file(self, skill_id, path):
        files = {file.path: file for file in self.bundled.get(skill_id, ())}
        return await self._answer(f"file {path}", files.get(path))


def names(home):
    return sorted(path.name for path in (home / ".claude/skills").iterdir())


async def test_skills_are_written_and_named_for_the_prompt(home):
    server = Server(skill("a"), skill("off", is_active=False), skill("blank", content=" "))
    active = await SkillSync(
        server, "agent", home, shipped=home / "none", folders=FOLDERS
    ).refresh()
    assert [item.name for item in active] == ["a"]
    assert names(home) == ["a"]


async def test_an_unchanged_signature_costs_one_question(home):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.calls.clear()
    assert [item.name for item in await sync.refresh()] == ["a"]
    assert server.calls == ["signature"]


async def test_a_new_skill_is_there_at_the_next_task(home):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.installed, server.signature = [skill("a", body="new"), skill("b")], "two"
    assert [item.name for item in await sync.refresh()] == ["a", "b"]
    assert names(home) == ["a", "b"]
    assert "new" in (home / ".claude/skills/a/SKILL.md").read_text()


@pytest.mark.parametrize("call", ["signature", "list"])
@pytest.mark.parametrize("error", [DOWN, BROKEN, ApiGarbled("u", "html")])
async def test_a_failing_server_changes_nothing(home, call, error):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.installed, server.signature, server.errors = [], "two", {call: error}
    assert [item.name for item in await sync.refresh()] == ["a"]
    assert names(home) == ["a"]


async def test_a_server_without_skills_changes_nothing(home):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.installed, server.signature = None, "two"
    assert [item.name for item in await sync.refresh()] == ["a"]
    assert names(home) == ["a"]


async def test_an_empty_list_that_is_meant_removes_them(home):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.installed, server.signature = [], "two"
    assert await sync.refresh() == ()
    assert names(home) == []


@pytest.mark.parametrize(
    "older", [{"signature": None}, {"errors": {"signature": ApiRefused("u", 404, "-")}}]
)
async def test_a_server_without_signatures_is_asked_for_the_list_each_time(home, older):
    server = Server(skill("a"))
    for name, value in older.items():
        setattr(server, name, value)
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.installed = [skill("b")]
    await sync.refresh()
    assert names(home) == ["b"]


async def test_bundled_files_come_along_but_not_binary_ones(home):
    files = {
        "id-a": [
            SkillFile(path="ref/x.md", content="x"),
            SkillFile(path="logo.png", content="[binary file - not synced]", is_binary=True),
        ],
    }
    server = Server(skill("a", is_complex=True), skill("b", is_complex=True), files=files)
    await SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS).refresh()
    assert names(home) == ["a"]
    assert (home / ".claude/skills/a/ref/x.md").read_text() == "x"
    assert not (home / ".claude/skills/a/logo.png").exists()
    assert "file logo.png" not in server.calls


async def test_a_file_that_cannot_be_fetched_keeps_the_old_skill_and_is_tried_again(home):
    server = Server(skill("a", is_complex=True), files={"id-a": [SkillFile(path="x", content="1")]})
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.bundled["id-a"] = [SkillFile(path="x", content="2")]
    server.signature, server.errors = "two", {"file x": BROKEN}
    assert [item.name for item in await sync.refresh()] == ["a"]
    assert (home / ".claude/skills/a/x").read_text() == "1"
    server.errors = {}
    await sync.refresh()
    assert (home / ".claude/skills/a/x").read_text() == "2"
    server.calls.clear()
    await sync.refresh()
    assert server.calls == ["signature"]


async def test_a_write_that_failed_is_tried_again_though_nothing_changed(home):
    (home / ".claude").mkdir()
    (home / ".claude/skills").write_text("in the way")
    sync = SkillSync(Server(skill("a")), "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    (home / ".claude/skills").unlink()
    await sync.refresh()
    assert names(home) == ["a"]


@pytest.mark.parametrize("path", ["../../../.bashrc", "/etc/passwd", "a/../../x"])
async def test_a_hostile_path_is_not_even_asked_for(home, path):
    files = {"id-a": [SkillFile(path=path, content="x"), SkillFile(path="ok", content="y")]}
    server = Server(skill("a", is_complex=True), skill("b"), files=files)
    await SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS).refresh()
    assert names(home) == ["b"]
    assert not [call for call in server.calls if call.startswith("file ")]


async def test_too_many_files_are_not_fetched(home):
    files = {"id-a": [SkillFile(path=f"f{n}", content="") for n in range(101)]}
    server = Server(skill("a", is_complex=True), files=files)
    await SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS).refresh()
    assert list(home.iterdir()) == []
    assert server.calls == ["signature", "list", "files"]


async def test_tasks_that_start_together_write_once(home):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(sync.refresh)
    assert server.calls.count("list") == 1
    assert server.calls.count("signature") == 5


async def test_ours_comes_back_when_the_servers_of_that_name_is_gone(home, tmp_path):
    ours = tmp_path / "shipped" / "work-on-task"
    ours.mkdir(parents=True)
    (ours / "SKILL.md").write_text("---\nname: work-on-task\ndescription: ours\n---\n")
    server = Server(skill("work-on-task"))
    sync = SkillSync(server, "agent", home, shipped=tmp_path / "shipped", folders=FOLDERS)
    await sync.install_shipped()
    target = home / ".codex/skills/work-on-task/SKILL.md"
    assert "ours" in target.read_text()
    await sync.refresh()
    assert "does work-on-task" in target.read_text()
    server.installed, server.signature = [], "two"
    await sync.refresh()
    assert "ours" in target.read_text()


async def test_a_server_that_never_answers_is_given_up_by_its_own_limit(home):
    server = Server(skill("a"))
    sync = SkillSync(server, "agent", home, shipped=home / "none", folders=FOLDERS)
    await sync.refresh()
    server.signature = "two"
    server.errors["list"] = ApiUnreachable("u", "no answer within 10 s", ambiguous=True)
    assert [item.name for item in await sync.refresh()] == ["a"]
    assert names(home) == ["a"]
    del server.errors["list"]
    server.installed.append(skill("b"))
    await sync.refresh()
    assert names(home) == ["a", "b"]
