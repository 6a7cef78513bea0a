"""Makes the state directory that a killed worker of an earlier commit leaves.

Run with the code and the test rig of that commit; the two files it makes are kept beside it, and
`test_previous_version` starts today's worker on them:

    git worktree add /tmp/earlier 94b1f76
    cd /tmp/earlier
    PYTHONPATH=.:tests/worker python <this file> <this directory>
    git worktree remove /tmp/earlier

The worker has three tasks when the API begins to refuse all reports: one has ended and waits in the
outbox to be finished, one is in the middle of its session, one has given its result and its process
stays. Then the worker and all processes of its sessions are killed. ``facts.json`` says which is
which, and where the directory was: that path is rewritten when it is unpacked.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import anyio
from recording_proxy import proxy_rig
from rig import AGENT, AGENTS
from worker_process import worker_process

PLACE = Path("/tmp/swarm-worker-previous-version")
HARNESS = """
import sys, time
sys.path.insert(0, sys.argv[2])
from speech import begin, end, prompt, words
from pathlib import Path
text, go_on = prompt(), Path(sys.argv[1])
begin()
words("before")
while not go_on.exists():
    time.sleep(0.01)
words("after")
print("a complaint", file=sys.stderr, flush=True)
if "Task goes on" not in text:
    end("it is done")
if "Task ends" not in text:
    time.sleep(1000)
"""
SETTLES_S = 3
"""By then it has tried to report all that the sessions said."""
REFUSED = "/finish|/session-logs|/api/events|/session-costs|/progress|/context|/logs"


async def main(out: Path) -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    async with proxy_rig(PLACE) as (rig, proxy):
        settings = rig.agent(HARNESS, str(PLACE / "go-on"), str(AGENTS))
        # The worker's process must run the code of that commit, too.
        env = {**rig.env, **settings, "MAX_CONCURRENT_TASKS": "3", "PYTHONPATH": str(Path.cwd())}
        async with worker_process(PLACE, env) as worker:
            names = ("ends", "goes on", "said all")
            tasks = {name: await rig.submit(f"Task {name}") for name in names}
            for task_id in tasks.values():
                await rig.until(lambda task_id=task_id: rig.said(task_id))
            proxy.refuse(REFUSED, 503)
            (PLACE / "go-on").touch()
            database = PLACE / "state" / AGENT / "worker.sqlite"
            await anyio.sleep(SETTLES_S)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
            uploaded = {name: await rig.said(task_id) for name, task_id in tasks.items()}
        (out / "state.tar.xz").unlink(missing_ok=True)
        with tarfile.open(out / "state.tar.xz", "w:xz") as archive:
            archive.add(PLACE / "state", "state")
    with closing(sqlite3.connect(database)) as rows:
        kinds = [kind for (kind,) in rows.execute("SELECT kind FROM outbox ORDER BY id")]
        claims = [task_id for (task_id,) in rows.execute("SELECT task_id FROM claims")]
    shutil.rmtree(PLACE)
    facts = {
        "place": str(PLACE),
        "tasks": tasks,
        "said": uploaded,
        "claims": claims,
        "outbox": kinds,
    }
    (out / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
