"""Git in a container: identity, logins, first clones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from container_rig import REPOS, SHOW_ENV, Box, ScriptedApi, git

from agent_swarm_worker.container.git_setup import identity


def repository(path: Path) -> Path:
    path.mkdir(parents=True)
    git("init", "-q", "-b", "main", cwd=path)
    (path / "README").write_text("first\n")
    git("add", ".", cwd=path)
    git("commit", "-qm", "first", cwd=path)
    return path


def row(url: Path | str, name: str, **more: object) -> dict[str, object]:
    return {"url": str(url), "name": name, "autoClone": True, "defaultBranch": "main", **more}


def test_repositories_are_cloned_trusted_and_brought_up_to_date(box: Box, api: ScriptedApi):
    source = repository(box.place / 'source\'s "repo" $(touch pwned)')
    clone = "/workspace/personal/it's; touch pwned"
    api.answers[REPOS] = {"repos": [row(source, "one", clonePath=clone)]}
    assert box.prepare().code == 0
    made = box.workspace / "personal" / "it's; touch pwned"
    assert (made / "README").read_text() == "first\n"
    assert made.stat().st_uid == os.geteuid()
    (source / "README").write_text("second\n")
    git("commit", "-qam", "second", cwd=source)
    assert box.prepare().code == 0
    assert (made / "README").read_text() == "second\n"
    assert not list(box.place.rglob("pwned"))
    trusted = (
        box.place / "system-gitconfig" if os.geteuid() == 0 else box.home / ".gitconfig"
    ).read_text()
    assert trusted.count("directory = *") == 1


def test_work_in_a_clone_is_left_as_it_is(box: Box, api: ScriptedApi):
    source = repository(box.place / "source")
    api.answers[REPOS] = {"repos": [row(source, "one"), row(source, "not", autoClone=False)]}
    assert box.prepare().code == 0
    made = box.workspace / "personal" / "repos" / "one"
    (made / "README").write_text("mine\n")
    (source / "README").write_text("second\n")
    git("commit", "-qam", "second", cwd=source)
    assert box.prepare().code == 0
    assert (made / "README").read_text() == "mine\n"
    assert not (box.workspace / "personal" / "repos" / "not").exists()


@pytest.mark.parametrize(
    "bad", [{"url": "--upload-pack=touch pwned"}, {"defaultBranch": "--x"}, {"url": "/no/such"}]
)
def test_a_repository_that_cannot_be_had_costs_no_other_and_not_the_start(
    box: Box, api: ScriptedApi, bad: dict[str, object]
):
    source = repository(box.place / "source")
    api.answers[REPOS] = {"repos": [{**row(source, "bad"), **bad}, row(source, "good")]}
    done = box.prepare(command=("echo", "started"))
    assert (done.code, done.out) == (0, "started\n"), done.err
    assert (box.workspace / "personal" / "repos" / "good" / "README").exists()
    assert "workspace.repository" in done.err
    assert not list(box.place.rglob("pwned"))


def test_whoever_commits_does_so_in_the_agents_name(box: Box):
    done = box.prepare(
        command=SHOW_ENV, GITHUB_TOKEN="t" * 40, GITHUB_NAME="An Agent", GITHUB_EMAIL="a@b.example"
    )
    assert {
        key: done.env[key] for key in done.env if key.startswith("GIT_") and "CONFIG" not in key
    } == {
        "GIT_AUTHOR_NAME": "An Agent",
        "GIT_AUTHOR_EMAIL": "a@b.example",
        "GIT_COMMITTER_NAME": "An Agent",
        "GIT_COMMITTER_EMAIL": "a@b.example",
    }


def test_the_identity_of_each_host():
    assert identity({"GITLAB_NAME": "x"}) == {}
    both = {"GITHUB_NAME": "hub", "GITLAB_NAME": "lab", "GITLAB_TOKEN": "t"}
    assert identity(both)["GIT_AUTHOR_NAME"] == "lab"
    assert identity({**both, "GITHUB_TOKEN": "t"})["GIT_AUTHOR_NAME"] == "hub"
    assert identity({"GITLAB_TOKEN": "t", "GITHUB_NAME": "hub"})["GIT_AUTHOR_NAME"] == "hub"
    given = identity({"GITHUB_TOKEN": "t", "GIT_AUTHOR_NAME": "mine"})
    assert "GIT_AUTHOR_NAME" not in given
    assert given["GIT_COMMITTER_NAME"]


def test_git_logs_in_with_the_token_of_the_moment_and_none_is_stored(box: Box):
    """A helper reads the variable, so that a rotated token is used and no file holds one."""
    box.prepare(GITLAB_TOKEN="first-token-value-0123", GITLAB_URL="https://lab.example:8443/")
    kept = (box.home / ".gitconfig").read_text()
    assert "first-token" not in kept
    filled = subprocess.run(
        ["git", "credential", "fill"],
        input=b"protocol=https\nhost=lab.example:8443\n\n",
        env={**box.env, "GITLAB_TOKEN": "second-token-value"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert "username=oauth2\npassword=second-token-value\n" in filled


def test_a_login_that_fails_does_not_end_the_boot(box: Box):
    box.program("gh", "#!/bin/sh\necho no >&2\nexit 1\n")
    done = box.prepare(command=("echo", "started"), GITHUB_TOKEN="t" * 40)
    assert (done.code, done.out) == (0, "started\n")
    assert done.steps("gh auth setup-git")


def test_an_address_of_gitlab_that_is_none_is_not_written_into_a_configuration(box: Box):
    done = box.prepare(GITLAB_TOKEN="t" * 20, GITLAB_URL="https://x\n[alias]")
    assert done.code == 0
    assert "GITLAB_URL is not" in done.err
    assert not (box.home / ".gitconfig").exists()
