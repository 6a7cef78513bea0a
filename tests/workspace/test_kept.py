"""What was put aside in clones is removed when it is old or too much, never the newest."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from agent_swarm_worker.workspace.kept import MAX_KEPT, surplus
from agent_swarm_worker.workspace.repository import RepositoryRequest

pytestmark = pytest.mark.anyio

DAYS_AGO = (2, 29, 31, 400)


async def visit(repositories):
    async with repositories.prepared(RepositoryRequest(vcs_repo="acme/api")) as context:
        return context


def stamp(days_ago: float) -> str:
    moment = datetime.now(UTC) - timedelta(days=days_ago)
    return moment.strftime("%Y-%m-%dT%H%M%S.000Z")


@pytest.fixture
def stash(sh, git_env):
    def stash(tree, days_ago, message):
        git_env["GIT_COMMITTER_DATE"] = f"{int(time.time() - days_ago * 86400)} +0000"
        (tree / "README.md").write_text(message)
        sh(tree, "stash", "push", "--quiet", "-m", message)
        del git_env["GIT_COMMITTER_DATE"]

    return stash


async def test_what_is_old_is_removed(make_repositories, clone_path, sh, stash):
    repositories = make_repositories()
    await visit(repositories)
    for days_ago in reversed(DAYS_AGO):
        stash(clone_path, days_ago, f"swarm-autostash main -{days_ago}")
        for place in (clone_path / ".git/swarm-kept", clone_path.parent):
            name = stamp(days_ago)
            name = name if place.name == "swarm-kept" else f".api.kept-{name}"
            (place / name / "in").mkdir(parents=True)
        branch = f"swarm-autosave-{days_ago:012}"
        sh(clone_path, "branch", branch)
        at_s = time.time() - days_ago * 86400
        os.utime(clone_path / ".git/logs/refs/heads" / branch, (at_s, at_s))
    stash(clone_path, 500, "my own")
    sh(clone_path, "branch", "swarm-autosave-of-mine", "--no-track")
    os.utime(clone_path / ".git/logs/refs/heads/swarm-autosave-of-mine", (0, 0))
    (clone_path.parent / ".api.kept-by-hand").mkdir()
    assert (await visit(repositories)).warning is None
    stashes = sh(clone_path, "stash", "list", "--format=%gs").splitlines()
    assert [line.partition(": ")[2] for line in stashes] == [
        "my own",
        "swarm-autostash main -2",
        "swarm-autostash main -29",
    ]
    branches = sh(clone_path, "branch", "--format=%(refname:short)").split()
    assert branches == [
        "main",
        *[f"swarm-autosave-{days:012}" for days in (2, 29)],
        "swarm-autosave-of-mine",
    ]
    kept = sorted(path.name for path in (clone_path / ".git/swarm-kept").iterdir())
    assert [name[:10] for name in kept] == [stamp(29)[:10], stamp(2)[:10]]
    beside = sorted(path.name for path in clone_path.parent.glob(".api.kept-*"))
    assert [name[:20] for name in beside] == [
        f".api.kept-{stamp(29)[:10]}",
        f".api.kept-{stamp(2)[:10]}",
        ".api.kept-by-hand",
    ]


async def test_the_newest_stays_however_old(make_repositories, clone_path, sh, stash):
    repositories = make_repositories()
    await visit(repositories)
    for days_ago in (401, 400):
        stash(clone_path, days_ago, f"swarm-autostash main -{days_ago}")
        (clone_path.parent / f".api.kept-{stamp(days_ago)}").mkdir()
    await visit(repositories)
    assert "-400" in sh(clone_path, "stash", "list", "--format=%gs")
    assert "-401" not in sh(clone_path, "stash", "list", "--format=%gs")
    (kept,) = clone_path.parent.glob(".api.kept-*")
    assert stamp(400)[:10] in kept.name


def test_too_many_are_too_many():
    now = datetime.now(UTC)
    times = [now.timestamp() - number for number in range(MAX_KEPT + 2)]
    assert surplus(times, now, MAX_KEPT) == [MAX_KEPT, MAX_KEPT + 1]
    assert surplus(times[:1], now + timedelta(days=99), MAX_KEPT) == []


async def test_submodules_are_named_once(make_repositories, origin, tmp_path, sh, commit):
    inner = tmp_path / "inner"
    inner.mkdir()
    sh(inner, "init", "--quiet", "--initial-branch=main")
    commit(inner, "file", "one")
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")
    sh(origin, *add, str(inner), "sub")
    sh(origin, "commit", "--quiet", "-m", "submodule")
    repositories = make_repositories()
    first = await visit(repositories)
    assert "its submodules are not checked out" in first.warning
    assert first.warning.endswith(": sub")
    assert (await visit(repositories)).warning is None
