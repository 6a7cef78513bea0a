"""Writing skills into a home directory without changing the user's files."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from agent_swarm_worker.prompts.render import shipped_texts
from agent_swarm_worker.providers.registry import known_specs
from agent_swarm_worker.skills import folders
from agent_swarm_worker.skills.folders import skill_folders
from agent_swarm_worker.skills.sync import install_builtin_skills
from agent_swarm_worker.skills.writer import BUILTIN, SERVER, SkillFolder, write_skills

HUGE = "x" * 500_000

SKILL_FOLDERS = skill_folders(known_specs())
EACH = len(SKILL_FOLDERS)
"""One folder for each harness; some share one."""


def text(name, body="body"):
    return f"---\nname: {name}\ndescription: does {name}\n---\n\n{body}\n"


def skill(name, body="body", **files):
    return SkillFolder(name=name, text=text(name, body), files=files)


def write(home, *skills, owner=SERVER, **options):
    return write_skills(home, skills, folders=SKILL_FOLDERS, owner=owner, **options)


def test_a_skill_goes_to_all_harnesses_whole_and_marked(home, tree):
    report = write(home, SkillFolder(name="a", text=text("a"), files={"ref/x.md": "x"}))
    assert (report.written, report.errors, report.skipped) == (EACH, [], [])
    expected = {}
    for place in SKILL_FOLDERS:
        expected |= {
            f"{place}/a/SKILL.md": text("a"),
            f"{place}/a/ref/x.md": "x",
            f"{place}/a/.swarm-managed": "",
        }
    assert tree() == expected


def test_an_unchanged_skill_is_not_written_again(home):
    write(home, skill("a", x="1"))
    before = (home / ".claude/skills/a").stat()
    report = write(home, skill("a", x="1"))
    assert report.written == 0
    assert (home / ".claude/skills/a").stat().st_ino == before.st_ino
    assert write(home, skill("a", x="2")).written == EACH


def test_what_is_gone_upstream_goes_here(home, tree):
    write(home, skill("a", one="1", two="2"), skill("b"))
    report = write(home, skill("a", one="1"))
    assert report.removed == EACH
    names = {path.split("skills/")[1] for path in tree()}
    assert names == {"a/SKILL.md", "a/one", "a/.swarm-managed"}
    assert write(home).removed == EACH
    assert tree() == {}


def test_a_folder_of_the_users_is_never_touched(home, tree):
    mine = home / ".claude/skills/a"
    mine.mkdir(parents=True)
    (mine / "SKILL.md").write_text("mine")
    report = write(home, skill("a"))
    assert report.written == EACH - 1
    assert any("did not put this there" in why for why in report.skipped)
    assert tree()[".claude/skills/a/SKILL.md"] == "mine"
    assert ".claude/skills/a/.swarm-managed" not in tree()
    assert write(home).removed == EACH - 1
    assert (mine / "SKILL.md").read_text() == "mine"


def test_the_swarms_files_in_other_places_of_the_home_stay(home, tree):
    (home / ".claude/skills").mkdir(parents=True)
    (home / ".claude/skills/README").write_text("mine")
    (home / ".claude/settings.json").write_text("{}")
    write(home, skill("a"))
    write(home)
    assert set(tree()) == {".claude/skills/README", ".claude/settings.json"}


@pytest.mark.parametrize(
    "path", ["../../.bashrc", "/etc/cron.d/x", "a/../../../x", "..\\x", "x\0y", "SKILL.md"]
)
def test_a_skill_with_a_path_that_leads_elsewhere_is_refused_as_a_whole(home, tree, path):
    report = write(home, SkillFolder(name="a", text=text("a"), files={path: "x"}), skill("b"))
    assert "cannot be placed" in report.skipped[0]
    assert {name.split("/")[-2] for name in tree()} == {"b"}


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/b", "..", "a\nb", "x y"])
def test_a_name_cannot_lead_elsewhere(home, tmp_path, name):
    write(home, skill(name))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    for place in SKILL_FOLDERS:
        [folder] = (home / place).iterdir()
        assert folder.parent == home / place


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_name_that_is_no_folders_is_refused(home, tree, name):
    assert write(home, skill(name)).skipped
    assert tree() == {}


def test_of_two_skills_with_one_folder_the_first_counts(home):
    report = write(home, skill("a b", "first"), skill("A_b", "second"))
    assert "already" in report.skipped[0]
    assert "first" in (home / ".claude/skills/a_b/SKILL.md").read_text()


@pytest.mark.parametrize(
    "bad",
    [
        SkillFolder(name="bad", text="no front matter"),
        SkillFolder(name="bad", text=text("bad", "x" * 10_000_000)),
        SkillFolder(name="bad", text=text("bad"), files={f"f{n}": "" for n in range(101)}),
        SkillFolder(name="bad", text=text("bad"), files={"f": "x" * 512_001}),
        SkillFolder(
            name="bad", text=text("bad"), files={f"f{n}": "x" * 500_000 for n in range(22)}
        ),
    ],
)
def test_a_bad_skill_is_skipped_with_a_reason_and_the_others_are_written(home, tree, bad):
    report = write(home, bad, skill("good"))
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith("bad: ")
    assert {name.split("/")[-2] for name in tree()} == {"good"}


def test_links_out_of_the_home_are_not_followed(home, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (home / ".claude").symlink_to(outside)
    (home / ".codex").mkdir()
    (home / ".codex/skills").symlink_to(outside / "deep")
    (home / ".pi").symlink_to(tmp_path / "not-there-yet")
    report = write(home, skill("a"))
    assert report.written == EACH - 3
    assert sum("leads out" in why for why in report.skipped) == 3
    assert list(outside.rglob("*")) == [outside / "deep"]
    assert not (tmp_path / "not-there-yet").exists()


def test_links_within_the_home_are_the_users_own_arrangement(home):
    (home / "dotfiles/skills").mkdir(parents=True)
    (home / ".claude").mkdir()
    (home / ".claude/skills").symlink_to(home / "dotfiles/skills")
    (home / ".agents").mkdir()
    (home / ".agents/skills").symlink_to(home / "dotfiles/skills")
    report = write(home, skill("a"))
    assert report.written == EACH - 1
    assert (home / "dotfiles/skills/a/SKILL.md").exists()


def test_a_skill_that_is_a_link_is_the_users(home, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / ".swarm-managed").touch()
    (victim / "precious").touch()
    (home / ".claude/skills").mkdir(parents=True)
    (home / ".claude/skills/a").symlink_to(victim)
    write(home, skill("a"))
    write(home)
    assert (home / ".claude/skills/a").is_symlink()
    assert {path.name for path in victim.iterdir()} == {".swarm-managed", "precious"}


def test_links_inside_a_managed_folder_are_replaced_not_followed(home, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text(text("a"))  # the same words, so that only the link itself gives it away
    write(home, skill("a", x="1"))
    folder = home / ".claude/skills/a"
    (folder / "SKILL.md").unlink()
    (folder / "SKILL.md").symlink_to(victim)
    write(home, skill("a", x="1"))
    assert not (folder / "SKILL.md").is_symlink()
    (folder / "extra").symlink_to(tmp_path)
    write(home, skill("a", x="1"))
    assert not (folder / "extra").exists()
    assert victim.read_text() == text("a")


def test_a_marker_that_is_a_link_marks_nothing(home, tmp_path):
    marker = tmp_path / "marker"
    marker.touch()
    folder = home / ".claude/skills/a"
    folder.mkdir(parents=True)
    (folder / ".swarm-managed").symlink_to(marker)
    write(home)
    assert folder.exists()


def test_what_cannot_be_written_is_an_error_and_the_rest_is_written(home):
    (home / ".claude").mkdir()
    (home / ".claude/skills").write_text("a file in the way")
    report = write(home, skill("a"))
    assert report.written == EACH - 1
    assert len(report.errors) == 1


def test_a_loop_of_links_is_an_error(home):
    (home / ".claude").symlink_to(home / ".claude")
    report = write(home, skill("a"))
    assert report.written == EACH - 1
    assert report.errors or report.skipped


def test_a_half_built_skill_of_a_crash_is_cleared_away(home):
    leftover = home / ".claude/skills/.swarm-building-abc/new"
    leftover.mkdir(parents=True)
    write(home, skill("a"))
    assert [path.name for path in (home / ".claude/skills").iterdir()] == ["a"]


def test_skills_to_be_kept_are_neither_written_nor_removed(home):
    write(home, skill("a b", "old"), skill("c"))
    report = write(home, skill("c"), keep=["a b"])
    assert report.removed == 0
    assert "old" in (home / ".claude/skills/a_b/SKILL.md").read_text()


def test_two_writers_take_turns(home):
    threads = [
        threading.Thread(target=write, args=(home, skill("a", f"body {n}", **{f"f{n}": "x"})))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = home / ".claude/skills/a"
    names = {path.name for path in folder.iterdir()}
    [file] = names - {"SKILL.md", ".swarm-managed"}
    assert f"body {file[1:]}" in (folder / "SKILL.md").read_text()


def test_waiting_for_another_worker_has_a_limit(home, monkeypatch):
    monkeypatch.setattr(folders, "_LOCK_TIMEOUT_S", 0.1)
    root = home / ".claude/skills"
    root.mkdir(parents=True)
    fd = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        report = write(home, skill("a"))
    finally:
        os.close(fd)
    assert report.written == EACH - 1
    assert str(root) in report.errors[0]


# --- our own


def test_builtin_skills_are_installed_and_renewed(home, tree, tmp_path):
    report = install_builtin_skills(shipped_texts("skills"), home, SKILL_FOLDERS)
    assert (report.errors, report.skipped) == ([], [])
    assert (home / ".claude/skills/work-on-task/SKILL.md").exists()
    fewer = tmp_path / "texts"
    (fewer / "work-on-task").mkdir(parents=True)
    (fewer / "work-on-task/SKILL.md").write_text(text("work-on-task", "renewed"))
    install_builtin_skills(fewer, home, SKILL_FOLDERS)
    assert {name.split("/")[-2] for name in tree()} == {"work-on-task"}
    assert "renewed" in tree()[".codex/skills/work-on-task/SKILL.md"]


def test_the_servers_skill_takes_the_place_of_ours_and_stays(home):
    write(home, skill("work-on-task", "ours"), owner=BUILTIN)
    write(home, skill("work-on-task", "theirs"))
    path = home / ".claude/skills/work-on-task/SKILL.md"
    assert "theirs" in path.read_text()
    report = write(home, skill("work-on-task", "ours"), owner=BUILTIN)
    assert (report.written, report.removed, report.skipped) == (0, 0, [])
    assert "theirs" in path.read_text()


def test_a_sync_of_the_server_leaves_our_other_skills_alone(home):
    write(home, skill("ours"), owner=BUILTIN)
    report = write(home, skill("theirs"))
    assert report.removed == 0
    assert (home / ".claude/skills/ours/SKILL.md").exists()


def test_ours_never_overwrite_the_users(home):
    mine = home / ".claude/skills/work-on-task"
    mine.mkdir(parents=True)
    (mine / "SKILL.md").write_text("mine")
    install_builtin_skills(shipped_texts("skills"), home, SKILL_FOLDERS)
    assert (mine / "SKILL.md").read_text() == "mine"


@pytest.mark.parametrize("place", ["SKILL.md", "x", "empty"])
def test_a_pipe_in_the_place_of_a_file_is_replaced_and_not_waited_for(home, place):
    one = skill("a", x="text", empty="")
    write(home, one)
    path = home / ".claude/skills/a" / place
    path.unlink()
    os.mkfifo(path)
    report = write(home, one)
    assert (report.written, report.errors) == (1, [])
    assert path.is_file()


def test_a_skill_that_cannot_take_its_place_leaves_the_old_one(home, monkeypatch):
    write(home, skill("a"))
    rename = Path.rename

    def fails(self, target):
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    report = write(home, skill("a", "changed"))
    assert len(report.errors) == EACH
    monkeypatch.undo()
    assert "changed" not in (home / ".claude/skills/a/SKILL.md").read_text()
    report = write(home, skill("a", "changed"))
    assert (report.written, report.errors) == (EACH, [])
    assert [path.name for path in (home / ".claude/skills").iterdir()] == ["a"]
