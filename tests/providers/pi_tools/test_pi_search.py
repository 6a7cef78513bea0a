"""grep and find: real trees, and patterns that take for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest
from patience import HANG_S
from tool_rig import Workshop, shop

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.processes.stop_tree import find
from agent_swarm_worker.providers.pi.tools import search_child
from agent_swarm_worker.providers.pi.tools.base import PathResolver
from agent_swarm_worker.providers.pi.tools.search import GrepTool, Searcher

__all__ = ["shop"]
pytestmark = pytest.mark.anyio
SECRET = "s3cret-value-of-the-operator"
CATASTROPHE = "a" * 60 + "b\n"


@pytest.fixture
def tree(shop: Workshop) -> Workshop:
    for name, text in {
        "src/app.py": "import os\nNAME = 'x'\nprint(NAME)\n",
        "src/deep/er/util.ts": "export const NAME = 1\n",
        "src/deep/test_util.tsx": "",
        "README.md": "name\n",
        ".git/config": "NAME",
        "node_modules/x/index.js": "NAME",
        ".env": "NAME=1\n",
    }.items():
        path = shop.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (shop.cwd / "blob.bin").write_bytes(b"NAME\0NAME")
    (shop.cwd / "away").symlink_to("/etc")
    os.mkfifo(shop.cwd / "fifo")
    return shop


async def test_matches_come_with_path_and_line(tree: Workshop):
    assert (await tree.use("grep", pattern="NAM.")).splitlines() == [
        ".env:1: NAME=1",
        "src/app.py:2: NAME = 'x'",
        "src/app.py:3: print(NAME)",
        "src/deep/er/util.ts:1: export const NAME = 1",
    ]
    assert await tree.use("grep", pattern="nowhere") == "no matches"


async def test_what_narrows_and_widens_a_search(tree: Workshop):
    use = tree.use
    assert "README.md:1" in await use("grep", pattern="NAME", ignoreCase=True)
    assert await use("grep", pattern="print(", literal=True) == "src/app.py:3: print(NAME)"
    assert await use("grep", pattern="NAME", glob="*.{ts,tsx}") == (
        "src/deep/er/util.ts:1: export const NAME = 1"
    )
    assert await use("grep", pattern="NAME", path="src/deep", glob="er/*.ts") == (
        "src/deep/er/util.ts:1: export const NAME = 1"
    )
    assert await use("grep", pattern="NAME =", path="src/app.py", context=1) == (
        "src/app.py-1- import os\nsrc/app.py:2: NAME = 'x'\nsrc/app.py-3- print(NAME)"
    )
    said = await use("grep", pattern="NAME", limit=2)
    assert said.splitlines()[:2] == [".env:1: NAME=1", "src/app.py:2: NAME = 'x'"]
    assert "[more than 2 matches" in said
    assert "app.py:3" not in said


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", {"src/app.py"}),
        ("src/*.py", {"src/app.py"}),
        ("**/*.ts", {"src/deep/er/util.ts"}),
        ("src/**/*.{ts,tsx}", {"src/deep/er/util.ts", "src/deep/test_util.tsx"}),
        ("**", None),
        ("deep", {"src/deep/"}),
        ("src/**", {"src/app.py", "src/deep/"}),
        ("NAME", set()),
    ],
)
async def test_files_are_found_by_name(tree: Workshop, pattern: str, found: set[str] | None):
    lines = set((await tree.use("find", pattern=pattern)).splitlines())
    if not found:
        assert (lines == {"nothing matches"}) == (found is not None)
    elif pattern == "src/**":
        assert lines >= found
    else:
        assert lines == found
    assert not any("node_modules" in line or ".git" in line or "/etc" in line for line in lines)


async def test_a_limit_says_that_there_is_more(shop: Workshop):
    for n in range(30):
        (shop.cwd / f"f{n:02}").touch()
    said = await shop.use("find", pattern="*", limit=5)
    assert said.splitlines()[:5] == [f"f{n:02}" for n in range(5)]
    assert "[more than 5 paths" in said
    assert "more than" not in await shop.use("find", pattern="*", limit=30)


async def test_globs_take_no_time_whatever_they_are():
    begin_s = time.monotonic()
    path = ("a" * 200,) * 60
    assert not search_child.Glob("/".join(["**", "*a*a*a*a*b"] * 12)).matches(path)
    assert len(search_child.braces("{a,b}" * 30)) <= 2 * search_child.MAX_BRACES
    assert time.monotonic() - begin_s < HANG_S


@pytest.mark.long
async def test_a_pattern_that_never_ends_costs_one_file(shop: Workshop):
    (shop.cwd / "a.txt").write_text(CATASTROPHE)
    (shop.cwd / "b.txt").write_text("aaaa\n")
    said = await shop.use("grep", pattern="(a+)+$")
    assert "b.txt:1: aaaa" in said
    assert "[a.txt left out: the pattern takes too long in it]" in said


@pytest.mark.long
async def test_a_search_that_never_ends_is_ended(shop: Workshop, tag: str):
    (shop.cwd / "0.txt").write_text("aaaa\n")
    (shop.cwd / "1.txt").write_text(CATASTROPHE)
    guest = shop.config.guest
    searcher = Searcher(guest, clock=SystemClock(), search_s=1.5, file_s=600)
    place = await PathResolver.open(guest, shop.cwd, {})
    grep = GrepTool(place, shop.config.redactor, searcher)
    with anyio.fail_after(HANG_S):
        said = (await grep.run({"pattern": "(a+)+$"})).text
    assert said.startswith("0.txt:1: aaaa\n")
    assert "stopped after 1.5 s" in said
    assert find(tag) == []


async def test_a_cancelled_search_leaves_no_process(shop: Workshop, tag: str):
    (shop.cwd / "1.txt").write_text(CATASTROPHE)
    with anyio.fail_after(HANG_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.tools["grep"].run, {"pattern": "(a+)+$"})
            while not find(tag):
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert find(tag) == []


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(?P<x>", "\\"])
async def test_a_bad_pattern_is_told(shop: Workshop, pattern: str):
    assert "the pattern cannot be used" in await shop.fails("grep", pattern=pattern)


async def test_long_lines_and_secrets(shop: Workshop):
    shop.config.redactor.add("OPERATOR", SECRET)
    (shop.cwd / "a.txt").write_text("x" * 490 + SECRET + "y" * 100_000 + "\n" + "z" * 10**7)
    said = await shop.use("grep", pattern="x{9}")
    assert len(said) < 600
    assert SECRET[:6] not in said
    assert "[…]" in said
    assert SECRET not in await shop.use("find", pattern=SECRET)


async def test_places_that_cannot_be_searched(shop: Workshop):
    assert "No such file" in await shop.fails("grep", pattern="x", path="missing")
    (shop.cwd / "file").write_text("x")
    assert "Not a directory" in await shop.fails("find", pattern="x", path="file/below")
    assert await shop.use("find", pattern="*", path="file") == "file"


async def test_the_child_follows_no_link_that_was_put_in_the_way(tmp_path: Path):
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.txt").touch()
    (tmp_path / "root/sub").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        list(search_child.walk(str(tmp_path / "root"), ["sub", "a.txt"]))
    assert [
        (path, is_dir) for _, __, path, is_dir in search_child.walk(str(tmp_path / "root"), [])
    ] == [(("sub",), False)]
