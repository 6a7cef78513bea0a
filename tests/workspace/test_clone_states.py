"""A clone in any state that an earlier task can leave is current for the next independent one."""

from __future__ import annotations

import os
import subprocess

import pytest

from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.repository import RepositoryRequest

pytestmark = pytest.mark.anyio

FIRST = RepositoryRequest(vcs_repo="acme/api")
FOLLOW_UP = RepositoryRequest(vcs_repo="acme/api", first_kickoff=False)

CONFLICT = """
git checkout -q -b mine
echo mine >README.md; git commit -qam mine
git checkout -q -b theirs HEAD~1
echo theirs >README.md; echo 2 >b; git add .; git commit -qm theirs
"""
STATES = {
    "index lock": ("touch .git/index.lock", "index.lock"),
    "ref lock": ("touch .git/refs/remotes/origin/main.lock", "origin/main.lock"),
    "branch lock": ("touch .git/refs/heads/main.lock .git/HEAD.lock", "heads/main.lock"),
    "shallow lock": ("touch .git/shallow.lock; git fetch -q --depth=1", "shallow.lock"),
    "config lock": ("touch .git/config.lock .git/packed-refs.lock", "packed-refs.lock"),
    "merge": (CONFLICT + "git merge mine", "a merge was under way"),
    "merge without conflict": (
        "git checkout -q -b x; echo x>x; git add x; git commit -qm x; git checkout -q main\n"
        "git merge -q --no-ff --no-commit x",
        "a merge was under way",
    ),
    "rebase": (CONFLICT + "git rebase mine", "a rebase was under way"),
    "rebase with autostash": (
        CONFLICT + "echo loose >b; git rebase --autostash mine",
        "a rebase was under way",
    ),
    "am": (
        CONFLICT + "git format-patch -q -1 --stdout mine | git am -3",
        "a rebase was under way",
    ),
    "cherry-pick": (CONFLICT + "git cherry-pick mine", "a cherry-pick was under way"),
    "several cherry-picks": (
        CONFLICT + "git cherry-pick mine theirs",
        "a cherry-pick or revert was under way",
    ),
    "revert": (
        CONFLICT + "echo again >README.md; git commit -qam again; git revert HEAD~1",
        "a revert was under way",
    ),
    "bisect": (
        CONFLICT + "git bisect start; git bisect bad; git bisect good HEAD~1; git bisect skip",
        "a bisect was under way",
    ),
    "stash with a conflict": (
        "echo a >README.md; git stash -q; echo b >README.md; git commit -qam b; git stash pop",
        "could not stash",
    ),
    "skip-worktree": (
        "git update-index --skip-worktree README.md; echo hidden >README.md",
        None,
    ),
    "assume-unchanged": (
        "git update-index --assume-unchanged README.md; echo hidden >README.md",
        None,
    ),
    "detached": ("git checkout -q --detach; echo d >d; git add d; git commit -qm d", "only here"),
    "no commit": ("git checkout -q --orphan empty; git rm -rqf .; echo n >n", "swarm-autosave"),
    "paths by intent": ("echo n >n; git add -N n", "could not stash"),
    "nested repository": ("git init -q in; echo n >in/n", "the repository in/ within it"),
    "nested with a commit": (
        "git init -q a/in; cd a/in; echo n >n; git add n; git commit -qm n",
        "the repository a/in/ within it",
    ),
    "embedded in a commit": (
        "git checkout -q -b e; git init -q in; cd in; echo n>n; git add n; git commit -qm n\n"
        "cd ..; git -c advice.addEmbeddedRepo=false add in; git commit -qm embedded",
        "the repository in/ within it",
    ),
    "branch in another work tree": (
        "git checkout -q -b x; git worktree add -q .wt/y main; echo y >.wt/y/README.md",
        None,
    ),
    "lost work tree": (
        "git checkout -q -b x; git worktree add -q ../gone main; rm -rf ../gone",
        None,
    ),
    "sparse": ("mkdir d; git sparse-checkout set --no-cone /d", "sparse checkout was ended"),
    "no remote": ("git remote remove origin", "was missing"),
    "another remote": (
        "git remote set-url origin https://127.0.0.1:9/fork/api.git",
        "fork/api.git, and is",
    ),
    "work tree elsewhere": ("git config core.worktree /", "core.worktree=/ was removed"),
    "bare": ("git config core.bare true", "core.bare=true was removed"),
    "damaged index": ("echo damaged >README.md; echo x >.git/index", "and is kept at"),
    "empty HEAD": (": >.git/HEAD", "and is kept at"),
    "damaged configuration": ("echo '[' >>.git/config", "and is kept at"),
    "lost objects": ("rm -rf .git/objects/??", None),
    "empty git directory": ("rm -rf .git; mkdir .git", "and is kept at"),
    "branch names in the way": (
        "git checkout -q -b x; git branch -qD main; git branch main/x",
        "and is kept at",
    ),
    "no git directory": ("rm -rf .git", "it has lost its .git"),
    "nothing at all": ("rm -rf ../api", None),
}


async def visit(repositories, request=FIRST):
    async with repositories.prepared(request) as context:
        return context


ALIKE = {
    *("ref lock", "shallow lock", "config lock", "merge without conflict", "am", "revert"),
    *("bisect", "assume-unchanged", "nested repository", "damaged configuration", "empty HEAD"),
    "bare",
}
"""States that take the way of another one: for the long suite."""


@pytest.mark.parametrize(
    "state",
    [pytest.param(it, marks=[pytest.mark.long] if it in ALIKE else []) for it in STATES],
)
async def test_any_state_is_current_for_the_next_task_and_told_once(
    make_repositories, origin, commit, clone_path, sh, shell, state
):
    script, told = STATES[state]
    repositories = make_repositories()
    await visit(repositories)
    said = shell(clone_path, script)
    commit(origin, "README.md", "two")
    context = await visit(repositories)
    assert context.clone_path == clone_path
    assert (clone_path / "README.md").read_text() == "two", (said, context.warning)
    assert sh(clone_path, "rev-parse", "HEAD", "main") == "\n".join(
        [sh(origin, "rev-parse", "main")] * 2
    )
    assert sh(clone_path, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert sh(clone_path, "status", "--porcelain", "--", ":!.wt") == ""
    assert (told in context.warning) if told else context.warning is None, (said, context.warning)
    commit(origin, "README.md", "three")
    assert (await visit(repositories)).warning is None
    assert (clone_path / "README.md").read_text() == "three"


KEPT = {
    "conflict": CONFLICT + "git merge mine; echo half >half",
    "rebase": CONFLICT + "git rebase mine; echo half >half",
    "intent": "echo half >half; git add -N half",
    "hidden": "git update-index --skip-worktree README.md; echo hidden >README.md; echo half >half",
    "plain": "echo half >half",
}


@pytest.mark.parametrize("state", KEPT)
async def test_changes_that_git_cannot_stash_are_a_stash_all_the_same(
    make_repositories, origin, commit, clone_path, sh, shell, state
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, KEPT[state])
    before = (clone_path / "README.md").read_text()
    context = await visit(repositories)
    assert len(context.auto_stashes) == 1
    assert not (clone_path / "half").exists()
    base = sh(clone_path, "rev-parse", "stash@{0}^1")
    sh(clone_path, "checkout", "--quiet", base)
    sh(clone_path, "stash", "pop")
    assert (clone_path / "half").read_text() == "half\n"
    assert (clone_path / "README.md").read_text() == before


@pytest.mark.long
async def test_what_cannot_be_stashed_at_all_is_on_a_branch_in_git_or_beside_the_clone(
    make_repositories, clone_path, sh, shell
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, "git checkout -q --orphan empty; git rm -rqf .; echo n >n")
    await visit(repositories)
    branch = sh(clone_path, "branch", "--list", "--format=%(refname)", "swarm-autosave-*")
    assert sh(clone_path, "show", f"{branch}:n") == "n"

    shell(clone_path, "git init -q in; echo precious >in/n")
    await visit(repositories)
    [kept] = clone_path.glob(".git/swarm-kept/*/in/n")
    assert kept.read_text() == "precious\n"

    shell(clone_path, "echo precious >n; : >.git/HEAD")
    await visit(repositories)
    [kept] = clone_path.parent.glob(".api.kept-*/n")
    assert kept.read_text() == "precious\n"


async def test_autostash_of_a_rebase_is_kept(make_repositories, clone_path, sh, shell):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, CONFLICT + "echo loose >b; git rebase --autostash mine")
    context = await visit(repositories)
    assert any("rebase-merge/autostash" in message for message in context.auto_stashes.values())
    stashes = [sh(clone_path, "stash", "show", "-p", ref) for ref in context.auto_stashes]
    assert any("+loose" in patch for patch in stashes)


async def test_an_autostash_that_cannot_be_stored_keeps_the_clone(
    make_repositories, clone_path, sh, shell
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, CONFLICT + "echo loose >b; git rebase --autostash mine; git reset -q --hard")
    autostash = (clone_path / ".git/rebase-merge/autostash").read_text().strip()
    (clone_path / ".git/logs/refs/stash").mkdir(parents=True)
    (clone_path / ".git/logs/refs/stash/in-the-way").touch()
    context = await visit(repositories)
    (kept,) = clone_path.parent.glob(".api.kept-*")
    assert f"is kept at {kept}: git stash: " in context.warning
    assert (kept / ".git/rebase-merge/autostash").read_text().strip() == autostash
    assert "+loose" in sh(kept, "stash", "show", "-p", autostash)


async def leave(repositories, shell, script, how="commit"):
    """Run a script as the session of a task; return what its worker reports of the clone."""
    async with repositories.prepared(FIRST) as context:
        shell(context.clone_path, script)
        context.report.uncommitted = how
    return context.report.notes


@pytest.mark.parametrize(
    "script",
    [
        "git init -q in; cd in; echo n >n; git add n; git commit -qm n",
        "git init -q in; echo n >in/n",
        "git worktree add -q in -b other",
    ],
)
async def test_a_repository_within_the_clone_is_not_committed(
    make_repositories, clone_path, sh, shell, script
):
    notes = await leave(make_repositories(), shell, f"echo 2 >README.md; echo 2 >b; {script}")
    why = "uncommitted changes were committed; the repository in/ within it was not"
    assert notes == [why]
    assert sh(clone_path, "ls-tree", "--name-only", "HEAD") == "README.md\nb"
    assert (clone_path / "in" / ".git").exists()
    assert sh(clone_path, "status", "--porcelain") == "?? in/"


@pytest.mark.parametrize("how", ["commit", "aside"])
async def test_uncommitted_work_is_left_while_a_git_works_in_the_clone(
    make_repositories, clone_path, git_env, sh, shell, how
):
    repositories = make_repositories(git_wait_s=0.3)
    async with repositories.prepared(FIRST) as context:
        shell(clone_path, "echo 2 >README.md; touch .git/index.lock")
        context.report.uncommitted = how
        running = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            ["git", "cat-file", "--batch"], cwd=clone_path, env=git_env, stdin=subprocess.PIPE
        )
    try:
        why = "uncommitted changes were left as they are: git cat-file --batch is still at work"
        assert context.report.notes == [f"{why} in it"]
        assert (clone_path / ".git/index.lock").exists()
        assert sh(clone_path, "stash", "list") == ""
    finally:
        running.communicate()


async def test_dead_locks_that_are_removed_after_a_session_are_told(
    make_repositories, clone_path, sh, shell
):
    notes = await leave(make_repositories(), shell, "echo 2 >README.md; touch .git/index.lock")
    assert notes == [
        "lock files of a git that was killed were removed: index.lock",
        "uncommitted changes were committed",
    ]
    assert sh(clone_path, "status", "--porcelain") == ""


def state_of(sh, clone):
    under_way = [path.name for path in (clone / ".git").iterdir() if path.name.isupper()]
    branches = sh(clone, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
    return sh(clone, "status", "--porcelain"), branches, {*under_way} - {"FETCH_HEAD"}


@pytest.mark.parametrize("state", ["index lock", "ref lock", "rebase", "merge", "bisect"])
async def test_a_continuing_task_keeps_tree_and_refs_and_loses_only_dead_locks(
    make_repositories, origin, commit, clone_path, sh, shell, state
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, "echo edited >edited; " + STATES[state][0])
    before = state_of(sh, clone_path)
    commit(origin, "README.md", "two")
    context = await visit(repositories, FOLLOW_UP)
    assert state_of(sh, clone_path) == before
    assert not list((clone_path / ".git").rglob("*.lock"))
    assert context.auto_stashes == {}
    # It was fetched, so that the agent can merge.
    assert sh(clone_path, "rev-parse", "origin/main") == sh(origin, "rev-parse", "main")


async def test_the_lock_of_a_git_at_work_stays(make_repositories, clone_path, git_env, shell):
    repositories = make_repositories(git_wait_s=0.3)
    await visit(repositories)
    (clone_path / "README.md").write_text("edited")
    editor = "sh -c 'echo open >&2; read line'"
    with subprocess.Popen(  # noqa: ASYNC220 - returns at once
        ["git", "commit", "-a"],
        cwd=clone_path,
        env={**git_env, "GIT_EDITOR": editor},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        while running.stderr.readline() != b"open\n":
            pass
        context = await visit(repositories)
        assert "git commit -a is still at work in it" in context.warning
        assert (clone_path / ".git/index.lock").exists()
        running.communicate(b"\n")
    assert (await visit(repositories)).warning is None


async def test_a_clone_in_use_is_left_with_its_locks(make_repositories, clone_path):
    repositories = make_repositories()
    async with repositories.prepared(FIRST):
        (clone_path / ".git/index.lock").touch()
        context = await visit(repositories)
        assert "another task is working" in context.warning
        assert (clone_path / ".git/index.lock").exists()


async def test_a_repository_around_the_clone_is_never_taken_for_it(
    make_repositories, clone_path, tmp_path, sh, shell
):
    repositories = make_repositories()
    await visit(repositories)
    around = tmp_path / "my $work space"
    sh(around, "init", "--quiet", "--initial-branch=main")
    (around / "mine").write_text("mine")
    config = (around / ".git/config").read_text()
    shell(clone_path, ": >.git/HEAD")
    await visit(repositories, FOLLOW_UP)
    await visit(repositories)
    assert (around / "mine").read_text() == "mine"
    assert (around / ".git/config").read_text() == config
    assert (clone_path / "README.md").read_text() == "one"


async def test_a_broken_clone_stays_if_the_remote_does_not_answer(
    make_repositories, origin, clone_path, shell
):
    repositories = make_repositories()
    await visit(repositories)
    shell(clone_path, ": >.git/HEAD")
    origin.rename(origin.with_name("moved"))
    context = await visit(repositories)
    assert "not a git repository" in context.warning
    assert (clone_path / "README.md").read_text() == "one"
    assert not list(clone_path.parent.glob(".api.kept*"))


@pytest.mark.long
async def test_a_submodule_is_current_too_and_its_changes_are_kept_in_it(
    make_repositories, origin, with_submodule, commit, clone_path, sh, shell
):
    repositories = make_repositories()
    await visit(repositories)
    file = ("-c", "protocol.file.allow=always")
    sh(clone_path, *file, "submodule", "--quiet", "update", "--init")
    sub = clone_path / "the sub"
    shell(sub, "echo lost >new; git add new; git commit -qm new; echo edited >file")
    lost = sh(sub, "rev-parse", "HEAD")
    shell(clone_path, "touch '.git/modules/the sub/index.lock'")
    commit(with_submodule, "file", "two")
    sh(origin / "the sub", "pull", "--quiet")
    sh(origin, "commit", "--quiet", "-am", "bump")
    context = await visit(repositories)
    assert (sub / "file").read_text() == "two"
    assert sh(clone_path, "status", "--porcelain") == ""
    assert "in the sub: commits that were only here" in context.warning
    assert sh(sub, "rev-parse", f"swarm-autosave-{lost[:12]}") == lost
    assert "swarm-autostash detached" in sh(sub, "stash", "list")
    assert "in the sub: uncommitted changes are kept there as stash@{0}" in context.warning
    assert (await visit(repositories)).warning is None


@pytest.mark.long
async def test_a_submodule_that_the_remote_removed_is_out_of_the_way(
    make_repositories, origin, with_submodule, clone_path, sh
):
    repositories = make_repositories()
    await visit(repositories)
    sh(clone_path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    sh(origin, "rm", "--quiet", "the sub")
    sh(origin, "commit", "--quiet", "-m", "without")
    context = await visit(repositories)
    assert "the sub" in context.warning
    assert sh(clone_path, "status", "--porcelain") == ""
    assert not (clone_path / "the sub").exists()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"


@pytest.fixture
def with_lfs(origin, commit):
    commit(origin, ".gitattributes", "*.bin filter=lfs\n")
    commit(origin, "a.bin", POINTER)


@pytest.fixture
def lfs(tmp_path, git_env):
    """Git-lfs as far as git sees it: a program that replaces the pointers."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "git-lfs"
    program.write_text('#!/bin/sh\n[ "$1" = pull ] && echo data >a.bin\n')
    program.chmod(0o755)
    return {**git_env, "PATH": f"{tools}:{git_env['PATH']}"}


async def test_pointers_of_lfs_are_replaced_or_told(
    make_repositories, with_lfs, clone_path, lfs, git_env
):
    context = await visit(make_repositories())
    assert context.warning == (
        "1 files of git-lfs are only pointers, such as a.bin: git-lfs is not installed"
    )
    context = await visit(make_repositories(git_=Git(lfs)))
    assert context.warning is None
    assert (clone_path / "a.bin").read_text() == "data\n"


async def test_a_failing_lfs_filter_does_not_cost_the_clone(
    make_repositories, origin, with_lfs, commit, clone_path, tmp_path, git_env
):
    config = tmp_path / "config"
    config.write_text('[filter "lfs"]\n smudge = "echo no quota >&2; false"\n required = true\n')
    git = Git({**git_env, "GIT_CONFIG_GLOBAL": str(config)})
    repositories = make_repositories(git_=git)
    for text in ("two", "three"):
        context = await visit(repositories)
        assert "only pointers" in context.warning
        assert (clone_path / "a.bin").read_text().startswith("version")
        commit(origin, "README.md", text)
        commit(origin, "a.bin", POINTER + text)


async def test_gits_own_output_is_in_the_failure(make_repositories, clone_path, commit, origin):
    repositories = make_repositories()
    await visit(repositories)
    commit(clone_path, "README.md", "mine")
    commit(origin, "README.md", "two")
    git = Git({**os.environ, "HOME": "/nowhere"}).in_clone(clone_path)
    await git("fetch", "--quiet", "origin", "main")
    merged = await git("-c", "user.name=a", "-c", "user.email=b", "merge", "FETCH_HEAD")
    assert "CONFLICT (content): Merge conflict in README.md" in merged.why
    unmerged = await git("commit", "-m", "x")
    assert unmerged.why.startswith("error: Committing is not possible")
    assert "README.md" in unmerged.why
