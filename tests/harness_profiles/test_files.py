"""Files of harness profiles: merging, including, and files that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_swarm_worker.errors import BadHarnessProfiles
from agent_swarm_worker.harness_profiles.files import MAX_FILE_BYTES, read_tree
from agent_swarm_worker.harness_profiles.names import ProfileName
from agent_swarm_worker.harness_profiles.profiles import HarnessProfiles
from agent_swarm_worker.providers.registry import supported_providers

Write = Callable[..., Path]
Problems = Callable[..., list[str]]


def test_tables_are_merged_and_lists_and_scalars_replaced(write: Write):
    path = write(
        """
        include = ["base.toml", "team.toml"]
        [claude.plan]
        args = ["--c"]
        env = {B = "own"}
        """,
        base='[claude.plan]\nmodel = "opus"\nargs = ["--a", "--b"]\nenv = {A = "1", B = "2"}',
        team='[claude.plan]\nmodel = "haiku"\n[claude.other]\neffort = "low"',
    )
    profiles = HarnessProfiles.load(path)
    plan = profiles.resolve(profiles.find("claude:plan"))
    assert plan.args == ("--c",)
    assert plan.variables == {"A": "1", "B": "own", "MODEL_OVERRIDE": "haiku"}
    sources = {key: str(it.source) for key, it in profiles.tree(plan.name).leaves()}
    assert sources == {
        "model": f"{path.parent}/team.toml: claude.plan.model (included by profiles.toml)",
        "args": f"{path}: claude.plan.args",
        "env.A": f"{path.parent}/base.toml: claude.plan.env.A (included by profiles.toml)",
        "env.B": f"{path}: claude.plan.env.B",
    }


def test_a_file_may_be_included_twice_but_not_by_itself(write: Write, problems: Problems):
    both = 'include = ["a.toml", "b.toml"]'
    shared = '[codex.x]\nmodel = "m"'
    path = write(both, a='include = ["c.toml"]', b='include = ["c.toml"]', c=shared)
    assert HarnessProfiles.load(path).find("codex:x") == ("codex", "x")
    (why,) = problems('include = ["a.toml"]', a='include = ["b.toml"]', b='include = ["a.toml"]')
    assert why == "b.toml: include: a cycle: a.toml → b.toml → a.toml"
    (why,) = problems('include = ["./profiles.toml"]')
    assert why == "profiles.toml: include: a cycle: profiles.toml → profiles.toml"


def test_a_file_that_includes_itself_through_a_link(write: Write, tmp_path: Path):
    path = write('include = ["link.toml"]')
    (tmp_path / "link.toml").symlink_to(path)
    with pytest.raises(BadHarnessProfiles, match="a cycle"):
        read_tree(path)


def test_includes_that_double_are_bounded(problems: Problems):
    files = {f"f{n}": f'include = ["f{n + 1}.toml", "f{n + 1}.toml"]' for n in range(12)}
    found = problems('include = ["f0.toml"]', **files, f12="")
    assert found
    assert all(line.endswith("include: more than 100 files") for line in found)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('include = ["gone.toml"]', "include: gone.toml: No such file or directory"),
        ('include = "base.toml"', "include: expected a list of names of files"),
        ('include = ["\\u0000"]', "include: embedded null byte"),
        (b'[claude.x]\nmodel = "\xff"', "no UTF-8 at byte 20"),
        ("[claude.x]\n[claude.x]", "Cannot declare ('claude', 'x') twice (at line 2, column 10)"),
        ('[claude.x]\nmodel = "a"\nmodel = "b"', "Cannot overwrite a value"),
        ("[claude.x]\n[Claude.X]", "Claude: another spelling of it is there, too: claude"),
        ("[pi-cli.a_b]\n[pi-cli.A-B]", "pi-cli.A-B: another spelling of it is there, too: a-b"),
        ("a = " + "[" * 2_000, "nested too deeply"),
        ("a." * 5000 + "a = 1", "nested too deeply"),
        ("a = " + "9" * 5000, "Exceeds the limit"),
        ("# " + "x" * MAX_FILE_BYTES, "larger than 1 MiB"),
        ("x", "(at end of document)"),
    ],
)
def test_a_file_that_cannot_be_used(problems: Problems, content: str | bytes, why: str):
    found = problems(content)
    assert found[0].startswith("profiles.toml: ")
    assert why in found[0]


def test_places_that_are_no_files(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for place, why in (
        (tmp_path, "expected a file"),
        (tmp_path / "pipe", "expected a file"),
        (Path("/dev/zero"), "expected a file"),
        (tmp_path / "gone", "No such file or directory"),
        (tmp_path / "pipe" / "x", "Not a directory"),
    ):
        with pytest.raises(BadHarnessProfiles) as caught:
            HarnessProfiles.load(place)
        assert caught.value.problems == (f"{place}: {why}",)


def test_the_shipped_file_changes_nothing():
    profiles = HarnessProfiles.load(None)
    assert profiles.names() == [ProfileName(name) for name in supported_providers()]
    for name in profiles.names():
        profile = profiles.resolve(name)
        assert (profile.variables, profile.args, profile.append_prompt) == ({}, (), "")
        assert (profile.permissions, profile.mcp, profile.tools) == (None, (), None)
    assert not any(server.required for server in profiles.servers.values())
