"""The environment in another place: allowed variables and those the session needs."""

from __future__ import annotations

import pytest

from agent_swarm_worker.sandboxes.port import guest_environment

WORKERS = {
    "PATH": "/opt/worker/bin:/usr/bin",
    "HOME": "/home/worker",
    "LANG": "C.UTF-8",
    "LC_TIME": "de_DE.UTF-8",
    "HTTPS_PROXY": "http://proxy:3128",
    "AGENT_SWARM_TASK_ID": "t1",
    "GIT_AUTHOR_NAME": "Worker",
    "API_KEY": "of the swarm",
    "ANTHROPIC_API_KEY": "k1",
    "OPENAI_API_KEY": "k2",
    "AWS_SECRET_ACCESS_KEY": "k3",
    "SSH_AUTH_SOCK": "/run/agent",
    "PYTHONPATH": "/opt/worker/lib",
}
OWN = {"PATH": "/usr/bin", "HOME": "/root"}


def test_the_session_gets_what_is_allowed_and_what_the_guest_sets():
    assert guest_environment(WORKERS, own=OWN) == {
        **OWN,
        "LANG": "C.UTF-8",
        "LC_TIME": "de_DE.UTF-8",
        "HTTPS_PROXY": "http://proxy:3128",
        "AGENT_SWARM_TASK_ID": "t1",
        "GIT_AUTHOR_NAME": "Worker",
    }


def test_what_it_needs_gets_through_and_no_other_secret():
    env = guest_environment(WORKERS, ["ANTHROPIC_API_KEY", "NOT_SET"], own=OWN)
    assert env["ANTHROPIC_API_KEY"] == "k1"
    assert not {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "API_KEY", "NOT_SET"} & env.keys()


@pytest.mark.parametrize("name", ["PATH", "HOME"])
def test_the_guests_own_values_win(name: str):
    assert guest_environment(WORKERS, [name], own=OWN)[name] == OWN[name]
