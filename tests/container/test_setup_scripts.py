"""Set-up scripts: user, interpreter, failures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from container_rig import SCRIPTS, Box, ScriptedApi

from agent_swarm_worker.container.scripts import BEGIN, END, interpreter, merge_agent_block


def test_a_failing_start_up_script_is_told_and_the_worker_starts(box: Box):
    box.start_up("#!/bin/bash\nexit 7\n")
    done = box.prepare(command=("echo", "started"))
    assert (done.code, done.out) == (0, "started\n"), done.err
    [_, failure] = done.steps("start-up.sh")
    assert failure["code"] == 7
    assert "global setup script" in failure["why"]


@pytest.mark.parametrize("strict", ["true", "1"])
def test_a_failing_start_up_script_ends_a_strict_start_with_its_own_code(box: Box, strict: str):
    box.start_up("#!/bin/bash\nexit 7\n")
    done = box.prepare(command=("echo", "started"), STARTUP_SCRIPT_STRICT=strict)
    assert (done.code, done.out) == (7, "")
    assert "[entrypoint] FATAL: start-up.sh failed with exit code 7" in done.err


def test_a_failing_global_script_ends_only_a_strict_start(box: Box, api: ScriptedApi):
    api.scripts(everyone="#!/bin/bash\nexit 9\n")
    assert box.prepare(command=("true",)).code == 0
    assert box.prepare(command=("true",), STARTUP_SCRIPT_STRICT="true").code == 9


def test_a_script_killed_by_a_signal_counts_like_in_a_shell(box: Box):
    box.start_up("#!/bin/bash\nkill -9 $$\n")
    assert box.prepare(STARTUP_SCRIPT_STRICT="true").code == 137


def test_scripts_run_in_order_with_the_rows_as_variables(box: Box, api: ScriptedApi):
    api.rows(FROM_THE_SWARM="it's here")
    seen = box.place / "seen"
    line = f'echo "%s $FROM_THE_SWARM $PWD" >> {seen}\n'
    api.scripts(everyone=line % "global", own=line % "agent")
    box.start_up("#!/bin/bash\n" + line % "operator")
    assert box.prepare().code == 0
    where = box.workspace
    assert seen.read_text().splitlines() == [
        f"{who} it's here {where}" for who in ("global", "agent", "operator")
    ]


def test_the_agents_script_stands_between_the_marks_of_the_operators(box: Box, api: ScriptedApi):
    path = box.start_up(f"#!/bin/sh\necho before\n{BEGIN}\nold\n{END}\necho operator\n")
    api.scripts(own="#!/usr/bin/env bash\necho agent\n")
    done = box.prepare()
    expected = f"#!/bin/sh\n{BEGIN}\necho agent\n{END}\necho before\necho operator\n"
    assert path.read_text() == expected
    assert done.out == "agent\nbefore\noperator\n"
    assert box.prepare().code == 0
    assert path.read_text() == expected, "it changes with each start"


def test_an_agents_script_that_was_taken_away_is_taken_out(box: Box, api: ScriptedApi):
    path = box.start_up(f"#!/bin/sh\n{BEGIN}\nold\n{END}\necho operator\n")
    assert box.prepare().out == "operator\n"
    assert path.read_text() == "#!/bin/sh\necho operator\n"


def test_a_script_that_is_not_known_leaves_the_old_one_in_place(box: Box, api: ScriptedApi):
    text = f"#!/bin/sh\n{BEGIN}\necho old\n{END}\n"
    path = box.start_up(text)
    del api.answers[SCRIPTS]
    assert box.prepare().out == "old\n"
    assert path.read_text() == text


def test_an_agents_script_alone_makes_a_start_up_script(box: Box, api: ScriptedApi):
    api.scripts(own="echo agent\n")
    assert box.prepare().out == "agent\n"
    assert (box.workspace / "start-up.sh").read_text().startswith(f"#!/bin/bash\n{BEGIN}\n")


def test_an_agents_script_in_another_language_runs_by_itself(box: Box, api: ScriptedApi):
    path = box.start_up("#!/bin/sh\necho operator\n")
    api.scripts(own="#!/usr/bin/env python3\nprint('agent')\n")
    assert box.prepare().out.splitlines() == ["agent", "operator"]
    assert path.read_text() == "#!/bin/sh\necho operator\n"


def test_a_script_that_cannot_be_brought_up_to_date_is_run_from_a_copy(
    box: Box, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As with a single file that is mounted: it cannot be replaced."""
    from agent_swarm_worker.container import scripts as room
    from agent_swarm_worker.logs import Log

    path = box.start_up("#!/bin/sh\n")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(room, "write_atomically", refuse)
    mark = tmp_path / "mark"
    run = room.Scripts(box.workspace, is_strict=True, log=Log())
    run.run_start_up(f"touch {mark}\n", dict(os.environ))
    assert mark.exists()
    assert path.read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize(
    ("name", "text", "mode", "expected"),
    [
        ("start-up.sh", "echo\n", 0o644, ("bash",)),
        ("start-up.sh", "#!/bin/sh -x\n", 0o644, ("/bin/sh",)),
        ("start-up.sh", "#!/bin/sh\r\n", 0o644, ("/bin/sh",)),
        ("start-up.sh", "#!/usr/bin/env -S sh -x\n", 0o644, ("sh",)),
        ("start-up.sh", "#!/usr/bin/env A=b sh\n", 0o644, ("sh",)),
        ("start-up.sh", "#!/no/such/shell\n", 0o755, ("bash",)),
        ("start-up.js", "1\n", 0o644, ("node",)),
        ("start-up.ts", "1\n", 0o644, ("bun", "run")),
        ("start-up.bun", "1\n", 0o644, ("bun", "run")),
        ("start-up", "echo\n", 0o644, ("bash",)),
        ("start-up", "echo\n", 0o755, ()),
        ("start-up", "", 0o644, ("bash",)),
    ],
)
def test_the_interpreter(
    tmp_path: Path, name: str, text: str, mode: int, expected: tuple[str, ...]
):
    path = tmp_path / name
    path.write_text(text)
    path.chmod(mode)
    assert interpreter(path) == expected


def test_a_text_file_that_may_be_executed_but_says_no_interpreter_still_runs(box: Box):
    box.start_up("echo ran\n", "start-up")
    assert box.prepare(STARTUP_SCRIPT_STRICT="1").out == "ran\n"


def test_the_first_of_the_known_names_runs(box: Box):
    box.start_up("#!/bin/sh\necho bare\n", "start-up")
    box.start_up("#!/bin/sh\necho sh\n", "start-up.sh")
    assert box.prepare().out == "sh\n"


@pytest.mark.parametrize("agents", ["a\n", "a", "#!/bin/sh\na\n", f"{BEGIN}\nx\n{END}\na\n"])
def test_placing_is_stable(agents: str):
    once = merge_agent_block("#!/bin/bash\nrest\n", agents)
    assert once == merge_agent_block(once, agents)
    assert once.count(BEGIN) == once.count(END) == 1
    assert once.endswith("rest\n")
