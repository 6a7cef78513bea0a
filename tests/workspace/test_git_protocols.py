"""Which protocols the worker's own git may use."""

from __future__ import annotations

import pytest

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.workspace.git import Git

pytestmark = pytest.mark.anyio


@pytest.fixture
def helper(tmp_path, git_env):
    """An environment with a remote helper for ``odd::`` addresses, which says that it ran."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "git-remote-odd"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n")
    program.chmod(0o755)
    return {**git_env, "PATH": f"{tools}:{git_env['PATH']}"}


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% {0}/ran", "fd::17", "odd::there", "EXT::touch {0}/ran"]
)
@pytest.mark.parametrize(
    "env",
    [
        {},
        {"GIT_ALLOW_PROTOCOL": "ext:fd:odd"},
        {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.allow",
            "GIT_CONFIG_VALUE_0": "always",
        },
    ],
)
async def test_an_address_runs_no_program(helper, tmp_path, sh, url, env):
    sh(tmp_path, "init", "--quiet", "clone")
    sh(tmp_path / "clone", "config", "protocol.ext.allow", "always")
    git = Git({**helper, **env})
    for cwd in (tmp_path, tmp_path / "clone"):
        outcome = await git("ls-remote", "--", url.format(tmp_path), cwd=cwd)
        assert "not allowed" in outcome.why or "not a git command" in outcome.why, outcome
    assert not (tmp_path / "ran").exists()


async def test_an_operator_adds_and_removes_protocols(helper, tmp_path, origin):
    git = Git({**helper, "SWARM_GIT_PROTOCOLS": "https, odd"})
    await git("ls-remote", "--", "odd::there")
    assert (tmp_path / "ran").exists()
    outcome = await git("ls-remote", "--", str(origin))
    assert "transport 'file' not allowed" in outcome.why
    assert (await Git(helper)("ls-remote", "--", str(origin))).ok


@pytest.mark.parametrize("value", ["https,ext", "fd", "https:no/such", "-"])
def test_what_is_no_protocol_to_use_is_refused(git_env, value):
    with pytest.raises(BadSetting, match="SWARM_GIT_PROTOCOLS"):
        Git({**git_env, "SWARM_GIT_PROTOCOLS": value})
