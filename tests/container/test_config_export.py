"""Exporting configuration rows to set-up scripts and commands."""

from __future__ import annotations

from container_rig import AGENT_ID, KEY, SHOW_ENV, Box, ScriptedApi

NASTY = {
    "QUOTES": """a 'single' and a "double" one""",
    "LINES": "first\nsecond\n",
    "SUBSTITUTED": "$(touch /nonexistent) `id` ${HOME} $HOME",
    "SPACES": "  around  ",
    "BACKSLASH": "a\\nb\\",
    "UNICODE": "ü ☃",
    "EQUALS": "a=b=c",
}


def test_values_arrive_as_they_are_and_one_odd_key_costs_no_other(box: Box, api: ScriptedApi):
    odd = {"CF-Access-Client-Id": "x", "1ST": "x", "a b": "x", "x;id": "x", "ü": "x"}
    api.rows(A_FIRST="1", **odd, **NASTY, Z_LAST="2")
    done = box.prepare(command=SHOW_ENV)
    assert done.code == 0, done.err
    for key, value in {**NASTY, "A_FIRST": "1", "Z_LAST": "2"}.items():
        assert done.env[key] == value
    assert not odd.keys() & done.env.keys()
    for key in ("CF-Access-Client-Id", "1ST", "a b", "x;id"):
        assert f'"key":"{key}"' in done.err


def test_rows_lie_over_the_containers_values(box: Box, api: ScriptedApi):
    api.rows(MODEL_TIER_SMOL="from-the-swarm")
    assert box.prepare(command=SHOW_ENV, MODEL_TIER_SMOL="mine").env["MODEL_TIER_SMOL"] == (
        "from-the-swarm"
    )


def test_a_blank_row_does_not_wipe_the_model_but_does_empty_the_raters(box: Box, api: ScriptedApi):
    api.rows(MODEL_OVERRIDE="", REASONING_EFFORT_OVERRIDE=" ", MEMORY_RATERS="")
    done = box.prepare(
        command=SHOW_ENV,
        MODEL_OVERRIDE="opus",
        REASONING_EFFORT_OVERRIDE="high",
        MEMORY_RATERS="llm",
    )
    assert done.env["MODEL_OVERRIDE"] == "opus"
    assert done.env["REASONING_EFFORT_OVERRIDE"] == "high"
    assert done.env["MEMORY_RATERS"] == ""


def test_logins_the_harness_and_who_we_are_are_not_exported(box: Box, api: ScriptedApi):
    api.rows(
        codex_oauth="{}",
        codex_oauth_0="{}",
        codex_oauth_12="{}",
        HARNESS_PROVIDER="claude",
        API_KEY="other",
        AGENT_ID="other",
        OTHER="x",
    )
    box.program("claude", "#!/bin/sh\n")
    done = box.prepare(command=SHOW_ENV)
    assert done.code == 0, done.err
    assert not [key for key in done.env if key.startswith("codex_oauth")]
    assert done.env["HARNESS_PROVIDER"] == "subprocess"
    assert (done.env["API_KEY"], done.env["AGENT_ID"]) == (KEY, AGENT_ID)
    assert done.env["OTHER"] == "x"


def test_the_worker_is_not_given_rows_that_it_follows_by_itself(box: Box, api: ScriptedApi):
    """An exported row would outlive its rotation and its deletion."""
    api.rows(SOME_TOKEN="old-token-value")
    box.program("agent-swarm-worker", "#!/bin/sh\necho args: $*\nexec env\n")
    done = box.prepare(command=("agent-swarm-worker", "worker", "--yolo"))
    assert "args: worker --yolo" in done.out
    assert "SOME_TOKEN" not in done.out
    assert "SOME_TOKEN=old" in box.prepare(command=("agent-swarm-worker", "doctor")).out


def test_secrets_of_the_swarm_are_in_no_file(box: Box, api: ScriptedApi):
    """No tool configuration with a key in it that would go stale, no temporary file of values."""
    api.rows(SOME_TOKEN="the-row-secret-0123456789")
    box.start_up("#!/bin/bash\nls -laR $TMPDIR > $HOME/seen\n")
    assert box.prepare().code == 0
    for path in box.place.rglob("*"):
        if path.is_file() and path.name != "seen":
            content = path.read_bytes()
            assert KEY.encode() not in content, path
            assert b"the-row-secret" not in content, path
    assert not (box.workspace / ".mcp.json").exists()
    assert list((box.place / "tmp").iterdir()) == []


def test_a_command_gets_the_signals_that_python_ignores(box: Box):
    done = box.prepare(command=("grep", "SigIgn", "/proc/self/status"))
    ignored = int(done.out.split()[1], 16)
    assert ignored & (1 << 12) == 0, "SIGPIPE is ignored"


def test_a_command_that_is_not_there_is_told_like_by_a_shell(box: Box):
    done = box.prepare(command=("no-such-program",))
    assert done.code == 127
    assert "cannot run no-such-program" in done.err
