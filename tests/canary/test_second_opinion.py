"""Rules that know nothing of this worker find no login in what it uploads and writes.

The rules are those of kingfisher, a scanner for secrets, which `make test-long` installs beside the
environment: ``SWARM_SECRET_SCANNER`` names its program.
"""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rig import swarm_rig
from worker_process import worker_process

pytestmark = [pytest.mark.anyio, pytest.mark.long]

SCANNER = os.environ.get("SWARM_SECRET_SCANNER", "")
LETTERS, DIGITS = string.ascii_letters + string.digits, string.digits


def random_logins() -> dict[str, str]:
    """Logins of well-known services: their forms are right, and nobody has them."""
    source = random.Random(4711)

    def some(count: int, among: str = LETTERS) -> str:
        return "".join(source.choices(among, k=count))

    return {
        "GITHUB_TOKEN": f"ghp_{some(36)}",
        "GITLAB_TOKEN": f"glpat-{some(20)}",
        "SLACK_BOT_TOKEN": f"xoxb-{some(12, DIGITS)}-{some(12, DIGITS)}-{some(24)}",
        "ANTHROPIC_API_KEY": f"sk-ant-api03-{some(93)}AA",
        "STRIPE_SECRET_KEY": f"sk_live_{some(24)}",
        "NPM_TOKEN": f"npm_{some(36)}",
        "SENDGRID_API_KEY": f"SG.{some(22)}.{some(43)}",
    }


AGENT_SCRIPT = """
import base64, json, os, shlex
env = dict(os.environ)
print(json.dumps({"type": "message", "role": "assistant", "content": json.dumps(env)}))
for name, value in env.items():
    print(f"export {name}={shlex.quote(value)}")
    print(json.dumps({"type": "progress", "message": f"{name}: {value}"}))
    print(f"+ curl -H 'Authorization: Bearer {value}' https://x:{value}@host.example.org/")
print(json.dumps({"type": "result", "output": "\\n".join(f"{k}={v}" for k, v in env.items())}))
"""


def findings(folder: Path) -> list[dict[str, Any]]:
    command = [SCANNER, "scan", str(folder), "--no-validate", "--no-update-check"]
    done = subprocess.run(
        [*command, "--format", "json"], capture_output=True, check=False, timeout=120
    )
    report = json.loads(done.stdout.partition(b"\n")[0])  # a summary follows
    return [found["finding"] for found in report["findings"]]


@pytest.mark.skipif(not Path(SCANNER).is_file(), reason="SWARM_SECRET_SCANNER names no program")
async def test_independent_rules_find_no_login(tmp_path: Path):
    logins = random_logins()
    said, left, sent = (tmp_path / name for name in ("said", "left", "sent"))
    for folder in (said, left, sent):
        folder.mkdir()
    (said / "environment").write_text("\n".join(f"{k}={v}" for k, v in logins.items()))
    assert {found["snippet"] for found in findings(said)} == set(logins.values()), "they know them"
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **rig.agent(AGENT_SCRIPT), **logins, "LOG_DIR": str(left)}
        env |= {"HARNESS_OUTPUT": "jsonl", "SWARM_PASS_ENV": ",".join(logins)}
        async with worker_process(tmp_path, env):
            task_id = await rig.submit("Print all there is")
            task = await rig.until_ended(task_id)
            await rig.settled(task_id)
        assert task["status"] == "completed"
        for name, rows in {
            "task": task,
            "logs": await rig.logs(task_id),
            "events": await rig.events(task_id),
        }.items():
            (sent / name).write_text(json.dumps(rows))
    assert "[REDACTED:" in (sent / "logs").read_text()
    assert findings(sent) == []
    assert findings(left) == []
