"""Finding the pull request of a branch."""

from __future__ import annotations

import json

import pytest

from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.vcs import VcsLink, find_request

pytestmark = pytest.mark.anyio

GITHUB = [{"number": 7, "url": "https://github.com/acme/api/pull/7"}]
GITLAB = [{"iid": 8, "web_url": "https://gitlab.example.org/g/acme/api/-/merge_requests/8"}]


@pytest.fixture
def checkout(origin, sh):
    """A work tree on a feature branch, and a way to say what its origin is."""

    def make(url, branch="feature/x"):
        sh(origin, "checkout", "--quiet", "-B", branch)
        sh(origin, "remote", "add", "origin", url)
        return origin

    return make


@pytest.fixture
def tool(git_env, tmp_path):
    """Install a `gh` or `glab` that prints something and remembers how it was called."""
    bin_dir = tmp_path / "tools"
    bin_dir.mkdir()

    def install(name, prints, *, code=0):
        answer = tmp_path / f"{name}.json"
        answer.write_text(prints if isinstance(prints, str) else json.dumps(prints))
        script = bin_dir / name
        script.write_text(
            f'#!/bin/sh\npwd > "{tmp_path}/cwd"\nprintf "%s\\n" "$@" > "{tmp_path}/args"\n'
            f'cat "{answer}"\nexit {code}\n'
        )
        script.chmod(0o755)
        return Git({**git_env, "PATH": f"{bin_dir}:{git_env['PATH']}"})

    return install


async def test_a_pull_request_is_found_in_the_sessions_directory(checkout, tool, tmp_path):
    cwd = checkout("git@github.com:acme/api.git")
    link = await find_request(tool("gh", GITHUB), cwd)
    assert link == VcsLink(
        provider="github", repo="acme/api", number=7, url="https://github.com/acme/api/pull/7"
    )
    assert (tmp_path / "cwd").read_text().strip() == str(cwd)
    assert (tmp_path / "args").read_text().split()[2:4] == ["--head", "feature/x"]


async def test_a_merge_request_is_found(checkout, tool):
    cwd = checkout("https://user:pw@gitlab.example.org/g/acme/api.git/")
    link = await find_request(tool("glab", GITLAB), cwd)
    assert (link.provider, link.repo, link.number) == ("gitlab", "acme/api", 8)


@pytest.mark.parametrize(
    "answer", ["", "not json", "[]", "{}", "[3]", '[{"number": "7"}]', '[{"number": 0, "url": ""}]']
)
async def test_an_odd_answer_is_no_request(checkout, tool, answer):
    cwd = checkout("https://github.com/acme/api")
    assert await find_request(tool("gh", answer), cwd) is None


async def test_a_tool_that_fails_is_no_request(checkout, tool):
    cwd = checkout("https://github.com/acme/api")
    assert await find_request(tool("gh", GITHUB, code=4), cwd) is None


async def test_without_the_tool_nothing_is_found(checkout, git):
    import shutil

    if shutil.which("gh"):
        pytest.skip("this machine has the tool")
    assert await find_request(git, checkout("https://github.com/acme/api")) is None


@pytest.mark.parametrize("branch", ["main", "master"])
async def test_a_default_branch_has_no_request(checkout, tool, branch):
    cwd = checkout("https://github.com/acme/api", branch)
    assert await find_request(tool("gh", GITHUB), cwd) is None


async def test_another_host_a_detached_head_and_a_plain_directory_have_none(
    checkout, tool, sh, tmp_path
):
    git = tool("gh", GITHUB)
    cwd = checkout("https://example.org/acme/api")
    assert await find_request(git, cwd) is None
    sh(cwd, "remote", "set-url", "origin", "https://github.com/acme/api")
    assert await find_request(git, cwd) is not None
    sh(cwd, "checkout", "--quiet", "--detach")
    assert await find_request(git, cwd) is None
    assert await find_request(git, tmp_path / "tools") is None
    assert await find_request(git, tmp_path / "gone") is None
