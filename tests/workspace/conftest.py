from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from agent_swarm_worker.api.wire.resources import Repo
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.repository import Repositories


def env_of_git(home):
    """Return an environment in which git knows nothing of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TEMPLATE_DIR": "",
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }


def git_runner(env):
    def run(cwd, *args):
        done = subprocess.run(
            ["git", *args], cwd=cwd, env=env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    return run


@pytest.fixture
def git_env(tmp_path):
    return env_of_git(tmp_path)


@pytest.fixture
def sh(git_env):
    """Run a git command for real, as a person would; return what it printed."""
    return git_runner(git_env)


@pytest.fixture
def git(git_env):
    return Git(git_env, timeout_s=30)


@pytest.fixture(scope="session")
def seed(tmp_path_factory):
    """A repository with one commit on main."""
    path = tmp_path_factory.mktemp("seed")
    run = git_runner(env_of_git(path))
    run(path, "init", "--quiet", "--initial-branch=main")
    return add_commit(path, run, "README.md", "one")


@pytest.fixture
def origin(tmp_path, seed):
    """A remote with one commit on main, behind a path that needs care."""
    path = tmp_path / """re mo'te "$x\"""" / "acme" / "api"
    return shutil.copytree(seed, path)


def add_commit(path, sh, name, text):
    (path / name).write_text(text)
    sh(path, "add", name)
    sh(path, "commit", "--quiet", "-m", text)
    return path


@pytest.fixture
def commit(sh):
    return lambda path, name, text: add_commit(path, sh, name, text)


class Rows:
    """The server's repositories."""

    def __init__(self, *rows, error=None):
        self.rows, self.error, self.asked = rows, error, []

    async def repos(self, name):
        self.asked.append(name)
        if self.error:
            raise self.error
        return self.rows


@pytest.fixture
def make_repositories(tmp_path, git, origin):
    """Repositories whose server knows `origin`, cloned below a workspace with odd characters."""
    workspace = tmp_path / "my $work space"
    workspace.mkdir()

    def make(*rows, error=None, git_=git, **changes):
        known = rows or (Repo(url=str(origin), name="api", default_branch="main"),)
        return Repositories(
            Rows(*known, error=error),
            git_,
            SystemClock(),
            workspace_dir=workspace,
            fallback_dir=tmp_path / "spare",
            **changes,
        )

    return make


@pytest.fixture
def clone_path(tmp_path):
    return tmp_path / "my $work space" / "personal" / "repos" / "api"


@pytest.fixture
def redactor():
    scrubber = Scrubber()
    scrubber.add("OPERATOR_KEY", "s3cr3t-value-of-the-operator")
    return scrubber


@pytest.fixture
def shell(git_env):
    """Run a script as the agent of an earlier task would."""

    def run(cwd, script):
        env = {**git_env, "GIT_EDITOR": "true"}
        return subprocess.run(
            f"({script}\n) 2>&1; true",
            shell=True,
            check=True,
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
        ).stdout

    return run


@pytest.fixture
def with_submodule(origin, tmp_path, sh, commit):
    inner = tmp_path / "inner repository"
    inner.mkdir()
    sh(inner, "init", "--quiet", "--initial-branch=main")
    commit(inner, "file", "one")
    file = ("-c", "protocol.file.allow=always")
    sh(origin, *file, "submodule", "--quiet", "add", str(inner), "the sub")
    sh(origin, "commit", "--quiet", "-m", "submodule")
    return inner
