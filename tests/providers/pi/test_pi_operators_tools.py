"""The operator's tools, from a worker's file to a call of the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_model import FakeModel, Turn
from rig import running_worker, swarm_rig

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio
TOOLS = """
[tools.stamp]
description = "Stamps a name."
command = ["sh", "-c", 'read all; echo "$all" > stamped; echo "by $STAMP_TOKEN"']
env = { STAMP_TOKEN = "${STAMP_TOKEN}" }
input = { type = "object", properties = { name = { type = "string" } }, required = ["name"] }
[tools.chosen]
description = "Only for tasks that say so."
command = "true"
offered = "selected"
[tools.other]
description = "No task may have it."
command = "true"
offered = "selected"
[tools.unset]
description = "Its variable is not set."
command = "true"
env = { A = "${NOT_SET_ANYWHERE}" }
"""
STAMP = "mcp__swarm-tools__stamp"
SECRET = "stamp-token-0123456789"


async def test_a_session_calls_them(tmp_path: Path):
    work, file = tmp_path / "work", tmp_path / "tools.toml"
    work.mkdir()
    file.write_text(TOOLS)
    async with FakeModel() as model, swarm_rig(tmp_path) as rig:
        env = {
            "HARNESS_PROVIDER": "pi",
            "SWARM_TOOLS_FILE": str(file),
            "SWARM_TOOLS_TASK_CHOICES": "chosen",
            "STAMP_TOKEN": SECRET,
            **model.env("openai"),
        }
        async with running_worker(rig, env):
            model.steps = [Turn("", [(STAMP, {"name": "Ada"})]), Turn("Done.")]
            tags = ["tool:chosen", "tool:other"]
            task_id = await rig.submit("Stamp it.", dir=str(work), tags=tags)
            task = await rig.until_ended(task_id)
            assert (task["status"], task["output"]) == ("completed", "Done.")
            assert json.loads((work / "stamped").read_text()) == {"name": "Ada"}
            offered = json.dumps(model.requests[0].body["tools"])
            assert [name in offered for name in ("stamp", "chosen")] == [True, True]
            assert [name in offered for name in ("__other", "__unset")] == [False, False]
            told = json.dumps(model.requests[1].body)
            assert "by [REDACTED:STAMP_TOKEN]" in told
            lines = json.dumps(await rig.lines(task_id))
            assert SECRET not in lines
            whys = [line["why"] for line in rig.logged(Event.MCP_CONFIG)]
            assert "no task may select it" in whys
            assert "NOT_SET_ANYWHERE is not set" in whys
            # The file is broken later: the next session fails with the reason.
            file.write_text("[tools.x]\n")
            failed = await rig.until_ended(await rig.submit("Again.", dir=str(work)))
            assert failed["status"] == "failed"
            assert "tools.x.description" in failed["failureReason"]
