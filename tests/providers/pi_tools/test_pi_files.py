"""read, write, edit and ls: real files, links and special files."""

from __future__ import annotations

import os
import stat
import sys
import traceback
from pathlib import Path

import anyio
import pytest
from tool_rig import Workshop, shop, workshop

from agent_swarm_worker.providers.pi.tools.base import (
    MAX_BYTES,
    MAX_LINES,
    PathResolver,
    ResolvedPath,
)
from agent_swarm_worker.sandboxes import local_files

__all__ = ["shop"]
pytestmark = pytest.mark.anyio
SECRET = "s3cret-value-of-the-operator"


# --- reading


async def test_a_file_is_shown_as_it_is(shop: Workshop):
    (shop.cwd / "a.txt").write_text("eins\nzwei ü\n")
    assert await shop.use("read", path="a.txt") == "eins\nzwei ü\n"
    assert await shop.use("read", path=str(shop.cwd / "a.txt")) == "eins\nzwei ü\n"


async def test_a_window_tells_how_to_go_on(shop: Workshop):
    (shop.cwd / "a.txt").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    shown = await shop.use("read", path="a.txt", offset=3, limit=2)
    assert shown.startswith("line 3\nline 4\n\n")
    assert "[6 more lines; go on with offset=5]" in shown
    assert await shop.use("read", path="a.txt", offset=10) == "line 10\n"
    assert "has 10 lines" in await shop.fails("read", path="a.txt", offset=11)
    assert "has 10 lines" in await shop.fails("read", path="a.txt", offset=5000)


async def test_following_the_hints_shows_every_line_once(shop: Workshop):
    lines = [f"{n} {'x' * (n % 200)}" for n in range(5001)]
    (shop.cwd / "a.txt").write_text("\n".join(lines))
    seen: list[str] = []
    offset = 1
    while offset:
        shown, _, note = (await shop.use("read", path="a.txt", offset=offset)).partition("\n\n[")
        assert len(shown.encode()) <= MAX_BYTES
        page = shown.removesuffix("\n").split("\n")
        assert len(page) <= MAX_LINES
        seen += page
        offset = int(note.partition("offset=")[2].rstrip("]") or 0)
    assert seen == lines


async def test_a_line_longer_than_the_limit_is_cut_and_passed(shop: Workshop):
    (shop.cwd / "a.txt").write_text("x" * 200_000 + "\nnext\n")
    shown = await shop.use("read", path="a.txt")
    assert len(shown) < MAX_BYTES + 300
    assert "line 1 is longer than 50 KB" in shown
    assert "[1 more lines; go on with offset=2]" in shown
    assert await shop.use("read", path="a.txt", offset=2) == "next\n"


async def test_of_a_huge_file_only_the_window_is_loaded(shop: Workshop):
    with (shop.cwd / "huge.txt").open("wb") as file:
        file.write(b"first\n" * 10_000)
        file.truncate(8 * 1024**3)  # sparse
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _peak_kb()
    shown = await shop.use("read", path="huge.txt", limit=1)
    assert shown.startswith("first\n\n\n[more than 9999 more lines")
    assert _peak_kb() - before < 50_000


def _peak_kb() -> int:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1])


async def test_what_is_no_text_file_is_refused_at_once(shop: Workshop):
    os.mkfifo(shop.cwd / "fifo")
    (shop.cwd / "dir").mkdir()
    (shop.cwd / "binary").write_bytes(b"\x7fELF\0\0\0")
    (shop.cwd / "empty").write_bytes(b"")
    (shop.cwd / "latin").write_bytes(b"caf\xe9\n")
    with anyio.fail_after(5):
        assert "named pipe" in await shop.fails("read", path="fifo")
        assert "a directory" in await shop.fails("read", path="dir")
        assert "a directory" in await shop.fails("read", path=".")
        assert "No such file" in await shop.fails("read", path="missing")
        assert "binary file of 7 bytes" in await shop.fails("read", path="binary")
    assert await shop.use("read", path="empty") == "(the file is empty)"
    assert await shop.use("read", path="latin") == "caf\ufffd\n"


async def test_a_device_is_refused_where_everything_is_open(tmp_path: Path):
    everywhere = await workshop(tmp_path, PI_ALLOW_OUTSIDE_CWD="1")
    assert "a device" in await everywhere.fails("read", path="/dev/zero")
    assert "a device" in await everywhere.fails("write", path="/dev/null", content="x")


async def test_secrets_are_not_shown_wherever_the_window_cuts(shop: Workshop):
    shop.config.redactor.add("OPERATOR", SECRET)
    (shop.cwd / "env").write_text(f"KEY={SECRET}\n")
    assert await shop.use("read", path="env") == "KEY=[REDACTED:OPERATOR]\n"
    for shift in range(len(SECRET) + 2):
        (shop.cwd / "long").write_text("x " * (MAX_BYTES // 2 - shift) + SECRET + " end\n")
        shown = await shop.use("read", path="long")
        assert not any(SECRET[:n] in shown for n in range(6, len(SECRET) + 1))
    assert SECRET not in await shop.fails("read", path=SECRET)


# --- where they may go


async def test_nothing_outside_can_be_reached(shop: Workshop, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("outside")
    (shop.cwd / "link").symlink_to(outside)
    (shop.cwd / "file-link").symlink_to(outside / "secret.txt")
    (shop.cwd / "new-link").symlink_to(outside / "new.txt")
    (shop.cwd / "loop").symlink_to("loop")
    for path in (
        "../outside/secret.txt",
        str(outside / "secret.txt"),
        "link/secret.txt",
        "file-link",
        "new-link",
        f"{shop.cwd}/../outside/secret.txt",
        f"../{shop.cwd.name}x/y",
        "/proc/self/root/etc/passwd",
        "~/x",
    ):
        assert "may not go" in await shop.fails("read", path=path)
        assert "may not go" in await shop.fails("write", path=path, content="x")
        assert "may not go" in await shop.fails("edit", path=path, oldText="a", newText="b")
    assert "may not go" in await shop.fails("ls", path="link")
    assert "may not go" in await shop.fails("grep", pattern="x", path="link")
    assert "may not go" in await shop.fails("find", pattern="*", path="..")
    await shop.fails("read", path="loop")
    await shop.fails("read", path="a\0b")
    await shop.fails("read", path="\ud800")
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]


async def test_a_link_put_in_the_way_after_the_judgement_leads_nowhere(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("outside")
    (shop.cwd / "dir").mkdir()
    (shop.cwd / "dir/a.txt").write_text("inside")
    judge = PathResolver.resolve

    async def judge_then_swap(
        self: PathResolver, path: str, *, to_write: bool = False
    ) -> ResolvedPath:
        target = await judge(self, path, to_write=to_write)
        if path.startswith("dir") and not (shop.cwd / "moved").exists():
            (shop.cwd / "dir").rename(shop.cwd / "moved")
            (shop.cwd / "dir").symlink_to(outside)
        if path == "one.txt":
            (shop.cwd / "one.txt").unlink()
            (shop.cwd / "one.txt").symlink_to(outside / "a.txt")
        return target

    monkeypatch.setattr(PathResolver, "resolve", judge_then_swap)
    assert "outside" not in await shop.fails("read", path="dir/a.txt")
    (shop.cwd / "one.txt").write_text("inside")
    assert "symbolic link" in await shop.fails("read", path="one.txt")
    (shop.cwd / "dir").unlink()
    (shop.cwd / "moved").rename(shop.cwd / "dir")
    await shop.fails("write", path="dir/a.txt", content="changed")
    assert (outside / "a.txt").read_text() == "outside"


async def test_the_operator_may_open_more(tmp_path: Path):
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "a.txt").write_text("extra")
    shop = await workshop(tmp_path, PI_EXTRA_ROOTS=f"{extra}{os.pathsep}relative{os.pathsep}")
    assert await shop.use("read", path=str(extra / "a.txt")) == "extra"
    assert "may not go" in await shop.fails("read", path="/etc/hostname")
    everywhere = await workshop(tmp_path, PI_ALLOW_OUTSIDE_CWD="1")
    await everywhere.use("write", path="../new/b.txt", content="b")
    assert (tmp_path / "new/b.txt").read_text() == "b"


async def test_skills_may_be_read_but_not_written(tmp_path: Path):
    skill = tmp_path / "home/.pi/agent/skills/x"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: x\ndescription: y\n---\n")
    (skill / "more.md").write_text("more")
    shop = await workshop(tmp_path)
    assert await shop.use("read", path="~/.pi/agent/skills/x/more.md") == "more"
    assert "may not go" in await shop.fails("write", path=str(skill / "more.md"), content="")


# --- writing


async def test_writing_makes_directories_and_keeps_the_mode(shop: Workshop):
    assert "created" in await shop.use("write", path="a/b/c.sh", content="#!/bin/sh\n")
    path = shop.cwd / "a/b/c.sh"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o750)
    assert "replaced" in await shop.use("write", path="a/b/c.sh", content="é")
    assert path.read_bytes() == "é".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert [entry.name for entry in path.parent.iterdir()] == ["c.sh"]


async def test_a_link_inside_stays_a_link(shop: Workshop):
    (shop.cwd / "real.txt").write_text("old")
    (shop.cwd / "link.txt").symlink_to("real.txt")
    await shop.use("write", path="link.txt", content="new")
    assert (shop.cwd / "link.txt").is_symlink()
    assert (shop.cwd / "real.txt").read_text() == "new"


async def test_a_write_that_fails_leaves_the_old_file(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
):
    (shop.cwd / "a.txt").write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_files.os, "rename", full)
    assert "No space left" in await shop.fails("write", path="a.txt", content="new")
    assert [path.read_text() for path in shop.cwd.iterdir()] == ["old"]


async def test_what_cannot_be_written_is_refused(shop: Workshop):
    (shop.cwd / "dir").mkdir()
    os.mkfifo(shop.cwd / "fifo")
    (shop.cwd / "file").write_text("x")
    with anyio.fail_after(5):
        assert "directory" in await shop.fails("write", path="dir", content="x")
        assert "directory" in await shop.fails("write", path=".", content="x")
        assert "named pipe" in await shop.fails("write", path="fifo", content="x")
        assert "named pipe" in await shop.fails("edit", path="fifo", oldText="x", newText="y")
        assert "Not a directory" in await shop.fails("write", path="file/x", content="x")
        assert "too long" in await shop.fails("write", path="x" * 300, content="x")
    assert "content is not valid Unicode" in await shop.fails("write", path="a", content="\ud800")


# --- editing


async def test_an_edit_touches_nothing_else(shop: Workshop):
    path = shop.cwd / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\nthree\xff\r\nno end")
    path.chmod(0o755)
    said = await shop.use("edit", path="a.txt", oldText="one\ntwo", newText="1\n2\n2b")
    assert "line 1" in said
    assert path.read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n2b\r\nthree\xff\r\nno end"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    await shop.use("edit", path="a.txt", oldText="three", newText="3\n3b")
    assert b"3\r\n3b\xff" in path.read_bytes()


async def test_a_passage_must_be_there_once(shop: Workshop):
    (shop.cwd / "a.txt").write_text("aa b b c")
    assert "oldText does not occur" in await shop.fails(
        "edit", path="a.txt", oldText="x", newText="y"
    )
    assert "occurs 2 times" in await shop.fails("edit", path="a.txt", oldText="b", newText="y")
    (shop.cwd / "a.txt").write_text("aaa")
    assert "occurs 2 times" in await shop.fails("edit", path="a.txt", oldText="aa", newText="y")
    assert "is empty" in await shop.fails("edit", path="a.txt", oldText="", newText="y")
    assert "the same" in await shop.fails("edit", path="a.txt", oldText="aaa", newText="aaa")
    assert "newText is missing" in await shop.fails("edit", path="a.txt", oldText="aaa")
    assert "oldText is missing" in await shop.fails("edit", path="a.txt")
    assert "secret" in await shop.fails("edit", path="a.txt", oldText="[REDACTED:X]", newText="y")
    assert (shop.cwd / "a.txt").read_text() == "aaa"


async def test_several_edits_are_made_together_or_not_at_all(shop: Workshop):
    (shop.cwd / "a.txt").write_text("one\ntwo\nthree\n")
    edits = [{"oldText": "three", "newText": "one"}, {"oldText": "one", "newText": "two"}]
    assert "line 1, 3" in await shop.use("edit", path="a.txt", edits=edits)
    assert (shop.cwd / "a.txt").read_text() == "two\ntwo\none\n"
    edits = [{"oldText": "one", "newText": "1"}, {"oldText": "gone", "newText": "2"}]
    assert "edits[1].oldText does not" in await shop.fails("edit", path="a.txt", edits=edits)
    edits = [{"oldText": "two\none", "newText": "1"}, {"oldText": "one", "newText": "2"}]
    assert "overlap" in await shop.fails("edit", path="a.txt", edits=edits)
    assert (shop.cwd / "a.txt").read_text() == "two\ntwo\none\n"


async def test_edits_of_one_file_at_once_are_all_there(shop: Workshop):
    names = [f"<{n}>" for n in range(40)]
    (shop.cwd / "a.txt").write_text("\n".join(names))
    async with anyio.create_task_group() as tasks:
        for name in names:

            async def edit(name: str = name) -> None:
                await shop.use("edit", path="a.txt", oldText=name, newText=f"done{name}")

            tasks.start_soon(edit)
    assert (shop.cwd / "a.txt").read_text() == "\n".join(f"done{name}" for name in names)


# --- listing


async def test_a_directory_is_listed(shop: Workshop):
    (shop.cwd / "b").mkdir()
    (shop.cwd / "A.txt").touch()
    (shop.cwd / ".hidden").touch()
    (shop.cwd / "link").symlink_to("b")
    (shop.cwd / "two\nlines").touch()
    said = await shop.use("ls")
    assert said.splitlines() == ["'two\\nlines'", ".hidden", "A.txt", "b/", "link@"]
    assert await shop.use("ls", path="b") == "(the directory is empty)"
    assert "[3 more entries" in await shop.use("ls", limit=2)
    assert "Not a directory" in await shop.fails("ls", path="A.txt")


# --- what models send


@pytest.mark.parametrize(
    ("tool", "args", "complaint"),
    [
        ("read", {}, "path is missing"),
        ("read", {"path": None}, "path is missing"),
        ("read", {"path": 7}, "path must be of type string, not 7"),
        ("read", {"path": "a", "offset": "3"}, "offset must be of type integer"),
        ("read", {"path": "a", "offset": True}, "offset must be of type integer"),
        ("read", {"path": "a", "offset": 1.5}, "offset must be of type integer"),
        ("read", {"path": "a", "offset": 0}, "offset must be at least 1"),
        ("read", {"path": "a", "file_path": "b"}, "unknown argument file_path"),
        ("bash", {"command": "true", "timeout": 10**9}, "timeout must be at most"),
        ("bash", {"command": ["ls"]}, "command must be of type string"),
        ("grep", {"pattern": "x", "ignoreCase": "yes"}, "ignoreCase must be of type boolean"),
        ("edit", {"path": "a", "edits": "x"}, "edits must be of type array"),
        ("edit", {"path": "a", "edits": ["x"]}, "edits[0] must be an object"),
        ("edit", {"path": "a", "edits": [{"oldText": "x"}]}, "edits[0].newText is missing"),
    ],
)
async def test_wrong_arguments_are_named(shop: Workshop, tool: str, args: dict, complaint: str):
    assert complaint in await shop.fails(tool, **args)


async def test_null_and_whole_floats_are_taken(shop: Workshop):
    (shop.cwd / "a.txt").write_text("1\n2\n")
    assert (await shop.use("read", path="a.txt", offset=2.0, limit=None)) == "2\n"


async def test_a_cancelled_read_stops_its_thread(shop: Workshop):
    with (shop.cwd / "huge.txt").open("wb") as file:
        file.truncate(200 * 1024**3)
        file.seek(0)
        file.write(b"x" * 9000)
    with anyio.move_on_after(0.3) as scope:
        await shop.use("read", path="huge.txt", offset=10**9)
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        while _counting():
            await anyio.sleep(0.02)


def _counting() -> bool:
    stacks = [traceback.extract_stack(frame) for frame in sys._current_frames().values()]
    return any(call.name == "_start_of_line" for stack in stacks for call in stack)
