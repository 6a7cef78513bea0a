"""A follow-up continues a copy of its parent's session, with the real pi."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import real_pi_cli
from scripted_model import ScriptedModel
from worker_rig import worker_rig

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


async def test_a_follow_up_can_continue_a_copy_of_the_session(tmp_path: Path):
    env = partial(real_pi_cli.pi_cli_env, HARNESS_PROVIDER="pi-cli", RESUME_MODE="fork")
    async with worker_rig(tmp_path, env, partial(ScriptedModel, real_pi_cli.SHELL)) as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        third = await on.run("Again? [[say:heron]]", parentTaskId=first["id"])
        ids = {task["claudeSessionId"] for task in (first, second, third)}
        assert (second["output"], third["output"], len(ids)) == ("heron", "heron", 3)
        body = json.dumps(on.model.requests[-1].body)
        assert "Remember the word heron" in body
        assert "Which word?" not in body, "the first session stayed as it was"
