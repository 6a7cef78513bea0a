"""Saved conversations: private, resumable, and complete after a kill."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from fake_model import FakeModel, Raw, Turn
from pi_rig import Ran, SessionDirs, run, start

from agent_swarm_worker.providers.pi.adapter import PiAdapter
from agent_swarm_worker.providers.pi.history import INTERRUPTED

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["openai", "anthropic"])
SECRET = "swordfish-swordfish-0001"


@pytest.fixture
def dirs(tmp_path: Path) -> SessionDirs:
    return SessionDirs(tmp_path)


async def first(dirs: SessionDirs, model: FakeModel, api: str = "openai", text: str = "Hi.") -> Ran:
    model.steps = [Turn(text)]
    ran = await run(dirs, model, api, prompt="The first task.")
    assert not ran.result.is_error, ran.result
    model.steps, model.requests = [], []
    return ran


@BOTH
async def test_a_session_goes_on_where_it_stopped(dirs: SessionDirs, api: str):
    async with FakeModel() as model:
        ran = await first(dirs, model, api, "I am done with the first.")
        again = await run(
            dirs,
            model,
            api,
            "The second task.",
            resume_session_id=ran.result.session_id,
            fresh_prompt="The story so far.",
        )
        third = await run(dirs, model, api, "The third.", resume_session_id=again.result.session_id)
    assert again.result.session_id == third.result.session_id == ran.result.session_id
    text = model.requests[0].messages
    order = ["The first task.", "I am done with the first.", "The second task."]
    assert sorted(order, key=text.index) == order
    assert "The story so far." not in text
    assert "The second task." in model.requests[1].messages
    assert len(dirs.saved()) == 1


async def test_what_is_saved_is_private_and_has_no_secrets(dirs: SessionDirs):
    async with FakeModel(Turn(f"The word is {SECRET}."), Turn()) as model:
        env = {"MY_API_KEY": SECRET}
        turn = Turn(f"Looking at {SECRET}.", [("bash", {"command": f"echo {SECRET}"})])
        model.steps = [turn, Turn("Fine.")]
        ran = await run(dirs, model, "anthropic", f"Use {SECRET}.", env=env)
    (saved,) = dirs.saved()
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert stat.S_IMODE(saved.parent.stat().st_mode) == 0o700
    for path in (saved, dirs.root / "journal.jsonl"):
        text = path.read_text()
        assert SECRET not in text
        assert "sk-ant-fake" not in text
        assert text.count("[REDACTED:MY_API_KEY]") >= 3
    assert SECRET not in repr(ran.events)
    assert SECRET in model.requests[1].messages  # the model works with what is really there


@BOTH
async def test_a_kill_in_the_middle_of_a_call_and_of_a_line(dirs: SessionDirs, api: str):
    async with FakeModel() as model:
        ran = await first(dirs, model, api)
        (saved,) = dirs.saved()
        call = {"part_kind": "tool-call", "tool_name": "bash", "tool_call_id": "call_x"}
        message = {"kind": "response", "parts": [{**call, "args": {"command": "make"}}]}
        torn = json.dumps({"type": "message", "message": message}) + '\n{"type":"message","mess'
        with saved.open("a") as stream:
            stream.write(torn)
        again = await run(dirs, model, api, "Go on.", resume_session_id=ran.result.session_id)
        third = await run(dirs, model, api, "And on.", resume_session_id=ran.result.session_id)
    assert not again.result.is_error
    assert not third.result.is_error
    for request in model.requests:
        assert request.messages.count("call_x") == 2
        assert INTERRUPTED in request.messages
    assert "Go on." in model.requests[1].messages


async def test_only_what_is_there_can_be_continued(dirs: SessionDirs, tmp_path: Path):
    adapter = PiAdapter()
    async with FakeModel() as model:
        ran = await first(dirs, model)
        config = dirs.config(model.env("openai"))
        known = ran.result.session_id or ""
        assert await adapter.can_resume(known, config)
        (saved,) = dirs.saved()
        outside = dirs.root / "home/.pi/agent/sessions/outside-1234.jsonl"
        outside.write_bytes(saved.read_bytes())
        link = saved.with_name("linked-12345.jsonl")
        link.symlink_to(outside)
        empty = saved.with_name("empty-12345.jsonl")
        empty.write_text("")
        refused = ("", "../outside-1234", str(outside)[:-6], "..", "a\0b-123456", "x" * 8)
        for name in (*refused, "linked-12345", "empty-12345"):
            assert not await adapter.can_resume(name, config), name


@pytest.mark.parametrize("stale", ["0" * 8, "../../../../etc/passwd", "garbage-123"])
async def test_a_session_that_is_gone_starts_afresh_with_the_story(dirs: SessionDirs, stale: str):
    async with FakeModel() as model:
        await first(dirs, model)
        (dirs.saved()[0].parent / "garbage-123.jsonl").write_bytes(b"\xff\xfe{}\n[]\n7\n")
        again = await run(
            dirs, model, prompt="Go on.", resume_session_id=stale, fresh_prompt="From the start."
        )
    assert not again.result.is_error
    assert again.result.session_id != stale
    assert "From the start." in model.requests[0].messages
    assert "Go on." not in model.requests[0].messages


async def test_two_at_once_do_not_write_into_one_conversation(dirs: SessionDirs):
    async with FakeModel() as model:
        ran = await first(dirs, model)
        resumed = {"resume_session_id": ran.result.session_id, "fresh_prompt": "Afresh."}
        inner: list[Ran] = []

        async def while_it_runs() -> None:
            model.on_request = None
            inner.append(await run(dirs, model, prompt="Go on.", **resumed))

        model.on_request = lambda _: while_it_runs()
        outer = await run(dirs, model, prompt="Go on.", **resumed)
    assert outer.result.session_id == ran.result.session_id
    assert inner[0].result.session_id != ran.result.session_id
    assert not inner[0].result.is_error


async def test_a_place_that_cannot_be_written(dirs: SessionDirs):
    async with FakeModel() as model:
        blocked = dirs.root / "a-file"
        blocked.write_text("")
        env = {**model.env("openai"), "PI_CODING_AGENT_DIR": str(blocked)}
        session, _ = await start(dirs.config(env))
        result = await session.wait_for_completion()
    assert (result.is_error, result.error_category) == (True, "provider_error")
    assert "cannot be saved" in (result.failure_reason or "")
    assert model.requests == []


async def test_a_failed_session_can_be_continued(dirs: SessionDirs):
    down = Raw(401, {"error": {"message": "bad key", "type": "authentication_error"}})
    async with FakeModel(down) as model:
        ran = await run(dirs, model, prompt="The first task.")
        assert ran.result.is_error
        again = await run(dirs, model, prompt="Try again.", resume_session_id=ran.result.session_id)
    assert not again.result.is_error
    assert "The first task." in model.requests[1].messages
