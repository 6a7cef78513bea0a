"""Files of root, and no others, become the worker's at the start."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import pytest
from container_rig import AGENT_ID, Box

from agent_swarm_worker.container.ownership import (
    Account,
    change_ownership,
    drop_privileges,
    make_agent_directories,
    make_directory,
    target_account,
    write_default_files,
)
from agent_swarm_worker.errors import ContainerError
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.registry import known_specs

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def nobody() -> Account:
    return Account.named("nobody")


def owner(path: Path) -> int:
    return path.lstat().st_uid


@as_root
def test_everything_in_the_home_that_root_wrote_is_the_workers(tmp_path: Path, nobody: Account):
    """Root-owned ~/.claude, ~/.local and skill folders ended every session with EACCES."""
    for name in (".claude/session-env", ".local/share/x", ".codex/skills/a", ".pi/agent/skills"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    done = change_ownership(tmp_path, nobody)
    assert {owner(path) for path in (tmp_path, *tmp_path.rglob("*"))} == {nobody.uid}
    assert (done.refused, done.why_incomplete) == (0, "")


@as_root
def test_no_link_is_followed_and_no_second_name_of_a_file_is_trusted(
    tmp_path: Path, nobody: Account
):
    outside, home = tmp_path / "outside", tmp_path / "home"
    (outside / "folder").mkdir(parents=True)
    home.mkdir()
    for name in ("file", "folder/file", "named-twice"):
        (outside / name).write_text("root's")
    (home / "to-file").symlink_to(outside / "file")
    (home / "to-folder").symlink_to(outside / "folder")
    (home / "second-name").hardlink_to(outside / "named-twice")
    done = change_ownership(home, nobody)
    assert {owner(path) for path in (outside, *outside.rglob("*"))} == {0}
    assert owner(home / "to-folder") == nobody.uid
    assert done.refused == 1


@as_root
def test_what_belongs_to_somebody_else_stays_his(tmp_path: Path, nobody: Account):
    theirs = tmp_path / "theirs"
    theirs.write_text("x")
    os.chown(theirs, 12345, 12345)
    change_ownership(tmp_path, nobody)
    assert owner(theirs) == 12345


@as_root
def test_a_tree_that_is_too_deep_or_too_wide_ends_the_walk_and_not_the_start(
    tmp_path: Path, nobody: Account, monkeypatch: pytest.MonkeyPatch
):
    from agent_swarm_worker.container import ownership

    for number in range(30):
        (tmp_path / f"f{number}" / "g").mkdir(parents=True)
    monkeypatch.setattr(ownership, "MAX_ENTRIES", 10)
    assert "stopped after" in change_ownership(tmp_path, nobody).why_incomplete
    # Not below pytest's own folder, which it could not clear any more.
    before, deep = Path.cwd(), Path(tempfile.mkdtemp())
    os.chdir(deep)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    monkeypatch.setattr(ownership, "MAX_ENTRIES", 10_000)
    try:
        change_ownership(deep, nobody)  # nothing is raised
    finally:
        subprocess.run(["rm", "-rf", str(deep)], check=True)


@as_root
def test_shared_folders_are_the_workers_with_all_below_them(tmp_path: Path, nobody: Account):
    """Sub-folders made after the parent was given away used to stay root's."""
    for name in ("personal", "shared/thoughts"):
        (tmp_path / name).mkdir(parents=True)
    make_agent_directories(tmp_path, AGENT_ID, nobody, Log())
    made = [
        path
        for path in tmp_path.rglob("*")
        if path not in {tmp_path / "personal", tmp_path / "shared"}
    ]
    assert {owner(path) for path in made} == {nobody.uid}
    below = tmp_path / "shared"
    for name in ("thoughts/{}/plans", "thoughts/{}/research", "downloads/{}/slack", "misc/{}"):
        assert (below / name.format(AGENT_ID)).is_dir()


@pytest.mark.parametrize("obstacle", ["link", "file"])
def test_a_planted_link_or_file_in_the_shared_volume_costs_a_folder_and_not_the_start(
    tmp_path: Path, obstacle: str
):
    elsewhere, shared = tmp_path / "elsewhere", tmp_path / "shared"
    elsewhere.mkdir()
    shared.mkdir()
    if obstacle == "link":
        (shared / "thoughts").symlink_to(elsewhere)
    else:
        (shared / "thoughts").write_text("x")
    with pytest.raises(OSError):
        make_directory(shared, "thoughts", "a", owner=None)
    make_agent_directories(tmp_path, AGENT_ID, None, Log())
    assert list(elsewhere.iterdir()) == []
    assert (shared / "memory" / AGENT_ID).is_dir()


def test_an_id_that_leads_elsewhere_makes_no_folder(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    make_agent_directories(tmp_path, "../../x", None, Log())
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_shared_volume_that_cannot_be_written_does_not_end_the_boot(box: Box):
    (box.workspace / "shared" / "thoughts").write_text("in the way, even for root")
    done = box.prepare(command=("echo", "started"))
    assert (done.code, done.out) == (0, "started\n"), done.err
    assert done.steps("folders")


def test_files_for_harnesses_are_private_and_nothing_that_is_there_is_touched(tmp_path: Path):
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    (home / ".claude").mkdir(parents=True)
    (workspace / "personal").mkdir(parents=True)
    (home / ".claude" / "settings.json").write_text("mine")
    (home / ".claude.json").symlink_to(tmp_path / "nowhere")
    write_default_files(home, workspace, known_specs(), Log())
    assert (home / ".claude" / "settings.json").read_text() == "mine"
    assert (home / ".claude.json").is_symlink()
    assert (workspace / "personal" / "todos.md").is_file()
    (home / ".claude.json").unlink()
    (home / ".claude" / "settings.json").unlink()
    write_default_files(home, workspace, known_specs(), Log())
    settings = json.loads((home / ".claude" / "settings.json").read_text())
    assert "AskUserQuestion" in settings["permissions"]["deny"]
    assert json.loads((home / ".claude.json").read_text())["hasCompletedOnboarding"] is True
    assert (home / ".claude.json").stat().st_mode & 0o777 == 0o600


@as_root
def test_rights_are_given_up_for_good(nobody: Account):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([0, 12345])
            drop_privileges(nobody)
            back = "back"
            try:
                os.setuid(0)
            except PermissionError:
                back = "no way back"
            said = [*os.getresuid(), *os.getresgid(), sorted({0, 12345} & {*os.getgroups()}), back]
        except BaseException as error:
            said = [repr(error)]
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert said == [*[nobody.uid] * 3, *[nobody.gid] * 3, [], "no way back"]


@as_root
def test_a_user_who_is_not_there_is_told(box: Box):
    assert target_account("root") is None
    with pytest.raises(ContainerError):
        target_account("nobody-of-this-name")
    done = box.prepare("--user", "nobody-of-this-name")
    assert done.code == 1
    assert "FATAL: there is no user 'nobody-of-this-name' to run as; exiting." in done.err


def test_the_home_is_the_operators_unless_it_is_roots():
    me = pwd.getpwuid(os.getuid())
    account = Account(me.pw_name, me.pw_uid, me.pw_gid, Path("/home/worker"))
    assert account.environment({"HOME": "/data"})["HOME"] == "/data"
    assert account.environment({"HOME": "/root"})["HOME"] == "/home/worker"
    assert account.environment({})["HOME"] == "/home/worker"
    assert account.environment({})["USER"] == me.pw_name
