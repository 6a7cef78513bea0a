"""What an agent set in a clone's configuration leads the worker's own git nowhere."""

from __future__ import annotations

import pytest
from test_clone_states import FIRST, FOLLOW_UP, visit

from agent_swarm_worker.workspace.clone_config import restore_config
from agent_swarm_worker.workspace.git import Git

pytestmark = pytest.mark.anyio

PROGRAMS = {
    "ssh": "git config core.sshCommand '{ran}'; git config url.ssh://x/.insteadOf /",
    "upload pack": "git config remote.origin.uploadpack '{ran}'",
    "refs of alternates": (
        "git config core.alternateRefsCommand '{ran}'\n"
        "git clone -q . ../other; echo $PWD/../other/.git/objects >.git/objects/info/alternates"
    ),
    "filter": "git config filter.e.smudge '{ran}'; echo '* filter=e' >.git/info/attributes",
    "clean filter": (
        "git config filter.e.clean '{ran}'\n"
        "echo '* filter=e' >.git/info/attributes; echo x >README.md"
    ),
    "process filter": (
        "git config filter.e.process '{ran}'; git config filter.e.required true\n"
        "echo '* filter=e' >.git/info/attributes; echo x >README.md"
    ),
    "credential helper": (
        "git config credential.helper '!{ran}'; git config remote.origin.url /none"
    ),
    "included": "git config -f ../in core.sshCommand '{ran}'; git config include.path ../../in",
    "work tree's own": (
        "git config extensions.worktreeConfig true\n"
        "git config --worktree remote.origin.uploadpack '{ran}'"
    ),
    "merge driver": "git config merge.e.driver '{ran}'; echo '* merge=e' >.git/info/attributes",
    "diff": "git config diff.external '{ran}'; echo x >README.md",
}


@pytest.fixture
def outside(tmp_path):
    """A directory beside the clone, which the worker's git has no business in."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious.txt").write_text("precious")
    return folder


@pytest.fixture
def trap(tmp_path):
    """A program that leaves a mark; returns its path and the mark's."""
    mark = tmp_path / "ran"
    program = tmp_path / "planted"
    program.write_text(f"#!/bin/sh\necho ran >>{mark}\nexit 1\n")
    program.chmod(0o755)
    return program, mark


@pytest.mark.long
@pytest.mark.parametrize("plant", PROGRAMS)
async def test_a_planted_program_does_not_run(
    make_repositories, origin, commit, clone_path, shell, trap, plant
):
    program, mark = trap
    repositories = make_repositories()
    await visit(repositories)
    said = shell(clone_path, PROGRAMS[plant].replace("{ran}", str(program)))
    mark.unlink(missing_ok=True)  # the agent's own git may have run it
    commit(origin, "README.md", "two")
    context = await visit(repositories)
    assert not mark.exists(), said
    assert (clone_path / "README.md").read_text() == "two", (said, context.warning)
    assert "was removed" in context.warning or "origin was" in context.warning
    commit(origin, "README.md", "three")
    assert (await visit(repositories)).warning is None


@pytest.mark.parametrize("plant", ["ssh", "upload pack", "included", "work tree's own"])
async def test_nor_for_a_task_that_continues_another(
    make_repositories, origin, commit, clone_path, shell, trap, plant
):
    program, mark = trap
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, PROGRAMS[plant].replace("{ran}", str(program)))
    mark.unlink(missing_ok=True)
    commit(origin, "README.md", "two")
    context = await visit(repositories, FOLLOW_UP)
    assert not mark.exists()
    assert "was removed" in context.warning
    assert (clone_path / "README.md").read_text() == "two"


async def test_filters_stay_for_a_task_that_continues_another(
    make_repositories, git_env, clone_path, sh, shell
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, "git config filter.crypt.smudge cat; git lfs install --local || true")
    await visit(repositories, FOLLOW_UP)
    assert sh(clone_path, "config", "filter.crypt.smudge") == "cat"
    sh(clone_path, "config", "filter.lfs.smudge", "git-lfs smudge -- %f")
    said = await restore_config(Git(git_env), clone_path)
    assert said == ["its setting filter.crypt.smudge=cat was removed"]
    assert sh(clone_path, "config", "filter.lfs.smudge") == "git-lfs smudge -- %f"


TREES = {
    "plain": "git config core.worktree {outside}",
    "of the work tree": (
        "git config extensions.worktreeConfig true\n"
        "git config -f .git/config.worktree core.worktree {outside}"
    ),
    "included": "git config -f ../in core.worktree {outside}; git config include.path ../../in",
}


@pytest.mark.parametrize("plant", TREES)
@pytest.mark.parametrize("request_", [FIRST, FOLLOW_UP], ids=["first", "follow-up"])
async def test_no_file_outside_of_the_clone_is_touched(
    make_repositories, origin, commit, clone_path, shell, outside, plant, request_
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, TREES[plant].replace("{outside}", str(outside)))
    commit(origin, "README.md", "two")
    context = await visit(repositories, request_)
    assert [path.name for path in outside.iterdir()] == ["precious.txt"]
    assert (clone_path / "README.md").read_text() == "two"
    assert "was removed" in context.warning


@pytest.mark.parametrize("uncommitted", ["commit", "aside"])
@pytest.mark.parametrize("plant", TREES)
async def test_nor_when_uncommitted_work_is_kept(
    make_repositories, clone_path, shell, outside, plant, uncommitted
):
    repositories = make_repositories()
    async with repositories.prepared(FIRST) as context:
        context.report.uncommitted = uncommitted
        shell(clone_path, f"echo new >new\n{TREES[plant].replace('{outside}', str(outside))}")
    assert [path.name for path in outside.iterdir()] == ["precious.txt"]
    assert "was removed" in "; ".join(context.report.notes)
    assert (clone_path / "new").exists() == (uncommitted == "commit")


@pytest.mark.long
async def test_the_tree_of_a_submodule_stays_within_the_clone(
    make_repositories, origin, with_submodule, commit, clone_path, sh, shell, outside
):
    repositories = make_repositories()
    await visit(repositories)
    sh(clone_path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    config = "'.git/modules/the sub/config'"
    shell(clone_path, f"git config -f {config} core.worktree {outside}; echo x >'the sub/file'")
    commit(with_submodule, "file", "two")
    sh(origin / "the sub", "pull", "--quiet")
    sh(origin, "commit", "--quiet", "-am", "bump")
    context = await visit(repositories)
    assert [path.name for path in outside.iterdir()] == ["precious.txt"]
    assert "a submodule's setting core.worktree" in context.warning
    assert (clone_path / "the sub" / "file").read_text() == "two"
    assert (await visit(repositories)).warning is None


async def test_another_repository_in_the_place_of_git_is_not_touched(
    make_repositories, origin, clone_path, sh, shell, outside
):
    repositories = make_repositories()
    await visit(repositories)
    shell(outside, "git init -q; git add .; git commit -qm precious; echo dirty >precious.txt")
    shell(clone_path, f"mv .git ../moved; echo 'gitdir: {outside}/.git' >.git")
    left = await visit(repositories, FOLLOW_UP)
    assert "leads to another repository" in left.warning
    context = await visit(repositories)
    assert "leads to another repository" in context.warning
    assert (clone_path / "README.md").read_text() == "one"
    assert (outside / "precious.txt").read_text() == "dirty\n"
    assert sh(outside, "stash", "list") == ""


@pytest.mark.parametrize(
    "plant",
    [
        "git branch origin/main",
        "git checkout -q -b origin/main",
        "git tag origin/main",
        "git tag main",
    ],
)
async def test_a_name_like_the_remotes_branch_is_not_taken_for_it(
    make_repositories, origin, commit, clone_path, sh, shell, plant
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, f"{plant}; echo wip >README.md")
    commit(origin, "README.md", "two")
    context = await visit(repositories)
    assert (clone_path / "README.md").read_text() == "two", context.warning
    assert sh(clone_path, "symbolic-ref", "HEAD") == "refs/heads/main"
    commit(origin, "README.md", "three")
    follow_up = await visit(repositories, FOLLOW_UP)
    assert (clone_path / "README.md").read_text() == "three", follow_up.warning
