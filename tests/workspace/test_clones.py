"""Cloning and updating real repositories."""

from __future__ import annotations

import anyio
import pytest

from agent_swarm_worker.api.wire.resources import Guidelines, Repo
from agent_swarm_worker.errors import ApiUnreachable
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.repository import RepositoryRequest, is_first_kickoff

pytestmark = pytest.mark.anyio

FIRST = RepositoryRequest(vcs_repo="acme/api")
FOLLOW_UP = RepositoryRequest(vcs_repo="acme/api", first_kickoff=False)


async def visit(repositories, request=FIRST):
    async with repositories.prepared(request) as context:
        return context


def head(sh, path):
    return sh(path, "symbolic-ref", "--short", "HEAD")


async def test_a_repository_is_cloned_and_described(make_repositories, origin, commit, clone_path):
    commit(origin, "CLAUDE.md", "be kind")
    rules = Guidelines(pr_checks=("make test",))
    row = Repo(url=str(origin), name="api", default_branch="main", guidelines=rules)
    context = await visit(make_repositories(row))
    assert context.warning is None
    assert context.clone_path == clone_path
    assert (clone_path / "README.md").read_text() == "one"
    assert context.claude_md == "be kind"
    assert context.guidelines == rules
    assert context.auto_stashes == {}


async def test_a_first_kickoff_starts_from_the_remote(
    make_repositories, origin, commit, clone_path, sh
):
    repositories = make_repositories()
    await visit(repositories)
    sh(clone_path, "checkout", "--quiet", "-b", "feature")
    commit(clone_path, "work.txt", "pushed nowhere")
    commit(origin, "README.md", "two")
    context = await visit(repositories)
    assert context.warning is None
    assert head(sh, clone_path) == "main"
    assert (clone_path / "README.md").read_text() == "two"
    assert "work.txt" in sh(clone_path, "ls-tree", "--name-only", "feature")


async def test_a_follow_up_finds_its_branch_as_it_was(
    make_repositories, origin, commit, clone_path, sh
):
    repositories = make_repositories()
    await visit(repositories)
    sh(clone_path, "checkout", "--quiet", "-b", "feature")
    commit(clone_path, "work.txt", "half")
    (clone_path / "work.txt").write_text("half, edited")
    (clone_path / "new.txt").write_text("untracked")
    commit(origin, "README.md", "two")
    before = sh(clone_path, "rev-parse", "HEAD")
    context = await visit(repositories, FOLLOW_UP)
    assert context.warning is None
    assert context.auto_stashes == {}
    assert head(sh, clone_path) == "feature"
    assert sh(clone_path, "rev-parse", "HEAD") == before
    assert (clone_path / "work.txt").read_text() == "half, edited"
    assert (clone_path / "new.txt").exists()
    # It was fetched all the same, so that the agent can merge.
    assert sh(clone_path, "rev-parse", "origin/main") == sh(origin, "rev-parse", "main")


async def test_a_follow_up_on_the_default_branch_moves_forward_only(
    make_repositories, origin, commit, clone_path, sh
):
    repositories = make_repositories()
    await visit(repositories)
    commit(origin, "README.md", "two")
    assert (await visit(repositories, FOLLOW_UP)).warning is None
    assert (clone_path / "README.md").read_text() == "two"
    (clone_path / "README.md").write_text("edited")
    commit(origin, "README.md", "three")
    context = await visit(repositories, FOLLOW_UP)
    assert "uncommitted changes" in context.warning
    assert (clone_path / "README.md").read_text() == "edited"
    commit(clone_path, "README.md", "mine")
    context = await visit(repositories, FOLLOW_UP)
    assert "could not follow" in context.warning
    assert (clone_path / "README.md").read_text() == "mine"


async def test_a_dirty_tree_is_stashed_with_untracked_files(make_repositories, clone_path, sh):
    repositories = make_repositories()
    await visit(repositories)
    sh(clone_path, "checkout", "--quiet", "-b", "feature")
    (clone_path / "README.md").write_text("edited")
    (clone_path / "new.txt").write_text("untracked")
    context = await visit(repositories)
    [(ref, message)] = context.auto_stashes.items()
    assert ref == "stash@{0}"
    assert "swarm-autostash feature 20" in message
    assert (clone_path / "README.md").read_text() == "one"
    assert not (clone_path / "new.txt").exists()
    sh(clone_path, "stash", "pop", ref)
    assert (clone_path / "README.md").read_text() == "edited"
    assert (clone_path / "new.txt").read_text() == "untracked"


async def test_commits_on_a_detached_head_or_only_here_get_a_branch(
    make_repositories, clone_path, commit, sh
):
    repositories = make_repositories()
    await visit(repositories)
    commit(clone_path, "a.txt", "on main, never pushed")
    kept_main = sh(clone_path, "rev-parse", "HEAD")
    sh(clone_path, "checkout", "--quiet", "--detach", "origin/main")
    commit(clone_path, "b.txt", "on no branch at all")
    kept_detached = sh(clone_path, "rev-parse", "HEAD")
    context = await visit(repositories)
    assert head(sh, clone_path) == "main"
    assert sorted(path.name for path in clone_path.iterdir()) == [".git", "README.md"]
    for sha in (kept_main, kept_detached):
        assert sh(clone_path, "rev-parse", f"swarm-autosave-{sha[:12]}") == sha
        assert f"swarm-autosave-{sha[:12]}" in context.warning


async def test_a_failed_fetch_is_a_warning_and_changes_nothing(
    make_repositories, origin, clone_path, sh
):
    repositories = make_repositories()
    await visit(repositories)
    (clone_path / "README.md").write_text("edited")
    origin.rename(origin.with_name("moved"))
    for request in (FIRST, FOLLOW_UP):
        context = await visit(repositories, request)
        assert "cannot fetch main" in context.warning
        assert context.clone_path == clone_path
        assert (clone_path / "README.md").read_text() == "edited"


async def test_a_failed_clone_is_a_warning_and_leaves_nothing(
    make_repositories, tmp_path, clone_path
):
    url = "https://user:hunter2-password@127.0.0.1:9/api.git"
    row = Repo(url=url, name="api", default_branch="main")
    request = RepositoryRequest(vcs_repo="https://user:hunter2-password@127.0.0.1:9/other.git")
    context = await visit(make_repositories(row), request)
    assert context.clone_path is None
    assert "the task names https://127.0.0.1:9/other.git" in context.warning
    assert "cannot clone https://127.0.0.1:9/api.git" in context.warning
    assert "hunter2" not in context.warning
    assert not clone_path.exists()
    assert [path.name for path in clone_path.parent.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    "branch", ["--upload-pack=touch pwned", "-b", "a..b", "a b", "x.lock", "@{-1}", "a\nb", "/", ""]
)
async def test_a_branch_name_cannot_be_an_option(make_repositories, origin, tmp_path, branch):
    row = Repo(url=str(origin), name="api", default_branch=branch)
    context = await visit(make_repositories(row))
    if branch == "":
        assert context.warning is None
        return
    assert "cannot be used" in context.warning
    assert context.clone_path is None
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch {pwned}",
        "-x",
        "ext::sh -c touch% {pwned}",
        "{pwned}\nb",
        "/x;touch {pwned}",
    ],
)
async def test_an_address_cannot_be_an_option_or_a_command(make_repositories, tmp_path, url):
    pwned = tmp_path / "pwned"
    row = Repo(url=url.format(pwned=pwned), name="api", default_branch="main")
    context = await visit(make_repositories(row))
    assert context.clone_path is None
    assert context.warning
    assert not pwned.exists()


@pytest.mark.parametrize("tool", [None, "gh"])
async def test_quotes_in_address_branch_and_path_run_no_command(
    make_repositories, origin, git_env, tmp_path, sh, tool
):
    branch = """it's-"$(touch${IFS}pwned)`touch${IFS}pwned`;#&"""
    sh(origin, "branch", branch)
    where = str(tmp_path / """my $work space""" / """o'"$(touch pwned)`x`;""" / "api")
    row = Repo(url=str(origin), name="api", default_branch=branch, clone_path=where)
    if tool:
        (tmp_path / "tools").mkdir()
        program = tmp_path / "tools" / tool
        program.write_text(
            '#!/bin/sh\nshift 2; url=$1 to=$2; shift 3\nexec git clone "$@" "$url" "$to"\n'
        )
        program.chmod(0o755)
    env = {**git_env, "PATH": f"{tmp_path / 'tools'}:{git_env['PATH']}"}
    repositories = make_repositories(row, git_=Git(env))
    asked = RepositoryRequest(vcs_repo=str(origin), vcs_provider="github" if tool else None)
    for _ in range(2):
        async with repositories.prepared(asked) as context:
            assert (context.warning, str(context.clone_path)) == (None, where)
            assert head(sh, context.clone_path) == branch
        (context.clone_path / "README.md").write_text("edited")
    assert f"swarm-autostash {branch} 20" in context.auto_stashes["stash@{0}"]
    assert not list(tmp_path.rglob("*pwned"))


async def test_the_branch_of_an_unregistered_repository_is_the_remotes_head(
    make_repositories, origin, commit, clone_path, sh
):
    sh(origin, "branch", "--move", "main", "trunk")
    repositories = make_repositories(Repo(url=str(origin), name="api"))
    assert (await visit(repositories)).warning is None
    assert head(sh, clone_path) == "trunk"
    commit(origin, "README.md", "two")
    assert (await visit(repositories)).warning is None
    assert (clone_path / "README.md").read_text() == "two"


async def test_an_unreachable_server_means_the_conventional_place(
    make_repositories, origin, tmp_path
):
    down = ApiUnreachable("u", "refused", ambiguous=False)
    request = RepositoryRequest(vcs_repo=str(origin))
    context = await visit(make_repositories(error=down), request)
    assert "could not be asked" in context.warning
    assert context.clone_path == tmp_path / "my $work space" / "personal" / "repos" / "api"
    assert (context.clone_path / "README.md").exists()


async def test_the_row_of_the_same_owner_is_chosen(make_repositories, origin):
    other = Repo(url="https://example.org/other/api.git", name="api")
    mine = Repo(url=str(origin), name="api", default_branch="main")
    context = await visit(make_repositories(other, mine))
    assert context.warning is None
    context = await visit(make_repositories(mine), RepositoryRequest(vcs_repo="else/api"))
    assert "the swarm knows api as" in context.warning


async def test_the_servers_path_is_mapped_into_this_workspace(make_repositories, origin, tmp_path):
    def at(path):
        return make_repositories(
            Repo(url=str(origin), name="api", default_branch="main", clone_path=path)
        )

    context = await visit(at("/workspace/shared/api"))
    assert context.clone_path == tmp_path / "my $work space" / "shared" / "api"
    assert (await visit(at("/nul\0byte"))).clone_path.name == "api"
    blocked = tmp_path / "my $work space" / "file"
    blocked.touch()
    assert (await visit(at(str(blocked / "api")))).clone_path is None


@pytest.mark.parametrize(
    "path",
    [
        "{elsewhere}/api",
        "../elsewhere/api",
        "/workspace/../../elsewhere/api",
        "/workspace",
        "/workspace/personal/.swarm-worker/api",
        "/workspace/tools/.git/hooks",
        "/workspace/tools/way-out/api",
        "~/api/../../../elsewhere/api",
    ],
)
async def test_a_server_cannot_have_a_clone_anywhere_else(
    make_repositories, origin, clone_path, tmp_path, sh, path
):
    workspace, elsewhere = tmp_path / "my $work space", tmp_path / "elsewhere"
    elsewhere.mkdir()
    sh(elsewhere, "init", "--quiet", "api")
    (elsewhere / "api" / "precious.txt").write_text("mine")
    sh(workspace, "init", "--quiet", "tools")
    (workspace / "tools" / "way-out").symlink_to(elsewhere)
    before = tree(elsewhere), tree(workspace / "tools")
    where = path.format(elsewhere=elsewhere)
    row = Repo(url=str(origin), name="api", default_branch="main", clone_path=where)
    context = await visit(make_repositories(row))
    assert context.clone_path == clone_path
    assert f"cannot be at {where}" in context.warning
    assert (tree(elsewhere), tree(workspace / "tools")) == before


def tree(root):
    return {str(path): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


async def test_a_foreign_directory_is_not_taken_for_a_clone(make_repositories, clone_path):
    clone_path.mkdir(parents=True)
    (clone_path / "precious.txt").write_text("mine")
    context = await visit(make_repositories())
    assert "there is something else" in context.warning
    assert context.clone_path is None
    assert (clone_path / "precious.txt").read_text() == "mine"


async def test_notes_that_point_out_of_the_clone_are_not_read(
    make_repositories, origin, sh, tmp_path
):
    (tmp_path / "secret").write_text("token")
    (origin / "CLAUDE.md").symlink_to(tmp_path / "secret")
    sh(origin, "add", "CLAUDE.md")
    sh(origin, "commit", "--quiet", "-m", "link")
    context = await visit(make_repositories())
    assert context.clone_path is not None
    assert context.claude_md == ""


async def test_variables_of_a_surrounding_repository_mislead_nobody(
    make_repositories, git_env, tmp_path, clone_path, sh
):
    misled = Git({**git_env, "GIT_DIR": str(tmp_path / "nowhere"), "GIT_WORK_TREE": "/"})
    repositories = make_repositories(git_=misled)
    await visit(repositories)
    (clone_path / "README.md").write_text("edited")
    context = await visit(repositories)
    assert context.warning is None
    assert len(context.auto_stashes) == 1
    assert not (tmp_path / "nowhere").exists()


async def test_hooks_of_the_repository_do_not_run_in_our_calls(
    make_repositories, clone_path, tmp_path
):
    repositories = make_repositories()
    await visit(repositories)
    hook = clone_path / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    hook.chmod(0o755)
    await visit(repositories)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_repositorys_commit_hooks_are_installed_where_the_swarm_asks(
    make_repositories, origin, clone_path, sh, enabled
):
    (origin / ".githooks").mkdir()
    (origin / ".githooks" / "pre-commit").write_text("#!/bin/sh\n")
    sh(origin, "add", ".githooks")
    sh(origin, "commit", "--quiet", "-m", "hooks")
    row = Repo(url=str(origin), name="api", default_branch="main", hooks_enabled=enabled)
    assert (await visit(make_repositories(row))).warning is None
    config = (clone_path / ".git" / "config").read_text()
    assert ("hooksPath = .githooks" in config) == enabled


async def test_hooks_that_need_an_installer_get_it_if_it_is_there_and_may_fail(
    make_repositories, origin, commit, git_env, tmp_path
):
    commit(origin, ".pre-commit-config.yaml", "repos: []")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "prek").write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    (tools / "prek").chmod(0o755)
    row = Repo(url=str(origin), name="api", default_branch="main", hooks_enabled=True)
    env = {**git_env, "PATH": f"{tools}:{git_env['PATH']}"}
    context = await visit(make_repositories(row, git_=Git(env)))
    assert context.clone_path is not None
    assert context.warning == "prek could not install the hooks: no network"


async def test_the_hosts_own_tool_is_used_if_it_is_there(
    make_repositories, git_env, origin, tmp_path, clone_path
):
    tools = tmp_path / "tools"
    tools.mkdir()
    log = tmp_path / "gh.log"
    gh = tools / "gh"
    gh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{log}"\nexec git clone "$FAKE_URL" "$4"\n')
    gh.chmod(0o755)
    env = {**git_env, "PATH": f"{tools}:{git_env['PATH']}", "FAKE_URL": str(origin)}
    repositories = make_repositories(Repo(url="acme/api", name="api"), git_=Git(env))
    assert (await visit(repositories)).warning is None
    args = log.read_text().splitlines()
    assert args[:3] == ["repo", "clone", "acme/api"]
    assert args[4:] == ["--", "--single-branch"]
    assert (clone_path / "README.md").exists()


async def test_a_tool_that_fails_is_followed_by_plain_git(
    make_repositories, git_env, origin, tmp_path
):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "glab").write_text('#!/bin/sh\nmkdir -p "$4"; touch "$4/junk"; exit 4\n')
    (tools / "glab").chmod(0o755)
    env = {**git_env, "PATH": f"{tools}:{git_env['PATH']}"}
    row = Repo(url=str(origin), name="api", default_branch="main")
    request = RepositoryRequest(vcs_repo="acme/api", vcs_provider="gitlab")
    context = await visit(make_repositories(row, git_=Git(env)), request)
    assert context.clone_path is not None
    assert not (context.clone_path / "junk").exists()


async def test_git_that_hangs_is_ended(make_repositories, git_env, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text("#!/bin/sh\nsleep 300 & wait\n")
    (tools / "git").chmod(0o755)
    env = {**git_env, "PATH": f"{tools}:{git_env['PATH']}"}
    git = Git(env, timeout_s=0.2, clone_timeout_s=0.2)
    with anyio.fail_after(10):
        context = await visit(make_repositories(git_=git))
    assert "git took longer than 0.2 s" in context.warning


async def test_without_git_a_task_still_gets_its_context(make_repositories, git_env, tmp_path):
    git = Git({**git_env, "PATH": str(tmp_path)})
    context = await visit(make_repositories(git_=git))
    assert context.clone_path is None
    assert "cannot run 'git'" in context.warning


@pytest.mark.parametrize(
    ("task_type", "parent_status", "first"),
    [
        (None, None, True),
        ("implement", "completed", True),
        ("implement", "in_progress", False),
        ("implement", "paused", False),
        ("resume", None, False),
        ("follow-up", "completed", False),
        ("github-review", None, False),
        ("deferred", "completed", False),
        ("azure-devops-comment", None, False),
    ],
)
async def test_which_tasks_start_afresh(task_type, parent_status, first):
    assert is_first_kickoff(task_type, parent_status) is first


async def test_no_credential_is_asked_for(git_env, tmp_path):
    log = tmp_path / "asked.log"
    (tmp_path / "git").write_text(
        f'#!/bin/sh\necho "prompt=$GIT_TERMINAL_PROMPT" > "{log}"\n'
        f'(exec < /dev/tty) 2> /dev/null && echo "has a terminal" >> "{log}"\ncat >> "{log}"\n'
    )
    (tmp_path / "git").chmod(0o755)
    git = Git({**git_env, "PATH": f"{tmp_path}:{git_env['PATH']}"})
    with anyio.fail_after(10):
        await git("fetch", cwd=tmp_path)
    assert log.read_text() == "prompt=0\n"
