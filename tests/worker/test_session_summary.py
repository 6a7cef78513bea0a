"""A session's summary becomes a memory, after the finish and apart from the task."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_api import Hang, Reply
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, Rig, harness, running_worker
from vendor import KEYS, LEARNED, Vendor, vendor
from worker_process import worker_process

from agent_swarm_worker.credentials.pools import usable_key
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.loops import summaries
from agent_swarm_worker.worker.run import session_summary

pytestmark = pytest.mark.anyio

SAID = "I ran the tests, they failed over old pins; then I made the lock file anew. " * 3
SECRET = "correct-horse-battery-staple-77"
ROUTER = "OPENROUTER_API_KEY"


def says(rig: Rig, text: str = SAID, *, result: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the settings of a harness that says this and ends."""
    message = {"role": "assistant", "model": "m-1", "content": [{"type": "text", "text": text}]}
    end = {"type": "result", "subtype": "success", "is_error": False, "result": "done"}
    return rig.prints(
        [
            {"type": "system", "subtype": "init", "session_id": "s-1", "model": "m-1"},
            {"type": "assistant", "session_id": "s-1", "message": message},
            {**end, "session_id": "s-1", "num_turns": 1, **(result or {})},
        ],
        HARNESS_OUTPUT="stream-json",
    )


@asynccontextmanager
async def summary_rig(tmp_path: Path) -> AsyncIterator[tuple[Rig, RecordingProxy, Vendor]]:
    async with proxy_rig(tmp_path) as (rig, proxy), vendor() as it:
        yield rig, proxy, it


async def memories(rig: Rig) -> list[dict[str, Any]]:
    return list((await rig.post("/api/memory/list", {"source": "session_summary"}))["results"])


async def until_remembered(rig: Rig) -> dict[str, Any]:
    found = await rig.until(lambda: memories(rig))
    (memory,) = found
    return dict(memory)


async def summary_costs(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    return [row for row in await rig.costs(task_id) if row["sessionId"].endswith("-summary")]


async def until_skipped(rig: Rig) -> str:
    def look() -> Any:
        return [line["skipped"] for line in rig.logged(Event.SESSION_SUMMARY) if "skipped" in line]

    return str((await until(look))[-1])


async def test_it_is_made_after_the_finish_and_its_cost_is_a_row_of_its_own(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        it.usage = {"cost": 0.0031}
        held = proxy.hold("POST /api/tasks/.*/finish")
        async with running_worker(rig, says(rig) | it.env(*KEYS)):
            task_id = await rig.submit("Mend the build")
            await held.reached.wait()
            assert it.questions == []
            held.open.set()
            memory = await until_remembered(rig)
            assert (await rig.task(task_id))["status"] == "completed"
            wanted = {
                "agentId": AGENT,
                "content": LEARNED,
                "name": "Session: Mend the build",
                "scope": "agent",
                "source": "session_summary",
                "sourceTaskId": task_id,
            }
            assert memory.items() >= wanted.items()
            (question,) = it.questions
            assert question.path == "/router/chat/completions"
            assert question.headers["authorization"] == f"Bearer {KEYS[ROUTER]}"
            assert question.body["model"] == "google/gemini-3-flash-preview"
            prompt = question.body["messages"][-1]["content"]
            assert "Mend the build" in prompt
            assert f"Assistant: {SAID.strip()}" in prompt
            (cost,) = await rig.until(lambda: summary_costs(rig, task_id))
            assert cost["totalCostUsd"] == 0.0031
            assert (cost["inputTokens"], cost["outputTokens"]) == (1000, 100)
            assert cost["model"] == "google/gemini-3-flash-preview"


@pytest.mark.parametrize(
    ("variable", "path", "header", "model"),
    [
        ("ANTHROPIC_API_KEY", "/v1/messages", "x-api-key", "claude-haiku-4-5"),
        ("OPENAI_API_KEY", "/openai/chat/completions", "authorization", "gpt-5.4-mini"),
    ],
)
async def test_the_next_credential_is_used_where_the_first_is_missing(
    tmp_path: Path, variable: str, path: str, header: str, model: str
):
    async with (
        summary_rig(tmp_path) as (rig, _, it),
        running_worker(rig, says(rig) | it.env(variable)),
    ):
        task_id = await rig.submit()
        await until_remembered(rig)
        (question,) = it.questions
        assert (question.path, question.body["model"]) == (path, model)
        assert KEYS[variable] in question.headers[header]
        (cost,) = await rig.until(lambda: summary_costs(rig, task_id))
        assert cost["totalCostUsd"] > 0  # by the list of prices


async def test_the_operator_names_the_model(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        env = it.env(ROUTER) | {"MEMORY_RATER_MODEL": "openrouter/acme/small-1"}
        async with running_worker(rig, says(rig) | env):
            await rig.submit()
            await until_remembered(rig)
        assert it.questions[0].body["model"] == "acme/small-1"


@pytest.mark.parametrize(
    ("said", "result", "more", "is_made"),
    [
        (SAID, {}, {}, True),
        (SAID, {"is_error": True, "result": "the tests do not pass"}, {}, True),
        (SAID, {}, {"SKIP_SESSION_SUMMARY": "1"}, False),
        (SAID, {}, {"SKIP_SESSION_SUMMARY": "yes"}, False),
        (SAID, {}, {"SKIP_SESSION_SUMMARY": "0"}, True),
        ("too short", {}, {}, False),
        (SAID, {"is_error": True, "result": "Not logged in · Please run /login"}, {}, False),
        (SAID, {"is_error": True, "result": "You've hit your usage limit"}, {}, False),
    ],
)
async def test_which_sessions_get_one(
    tmp_path: Path, said: str, result: dict[str, Any], more: dict[str, str], is_made: bool
):
    async with summary_rig(tmp_path) as (rig, _, it):
        env = says(rig, said, result=result) | it.env(ROUTER) | more
        async with running_worker(rig, env):
            task_id = await rig.submit()
            await rig.until_ended(task_id)
            await rig.settled(task_id)
        # The end of a worker waits for a summary under way.
        assert len(it.questions) == is_made


async def test_a_cancelled_session_gets_none(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        async with running_worker(rig, harness("ticks", "0.02") | it.env(ROUTER)):
            task_id = await rig.submit()
            await rig.until_status(task_id, "in_progress")
            await rig.until(lambda: rig.logs(task_id))
            await rig.post(f"/api/tasks/{task_id}/cancel")
            await rig.settled(task_id)
        assert it.questions == []


@pytest.mark.parametrize("answer", ["No significant learnings.", "ok", ""])
async def test_an_answer_without_a_lesson_costs_and_is_no_memory(tmp_path: Path, answer: str):
    async with summary_rig(tmp_path) as (rig, _, it):
        it.text = answer
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            task_id = await rig.submit()
            await rig.until(lambda: summary_costs(rig, task_id))
        assert await memories(rig) == []
        assert len(it.questions) == 1


async def test_no_secret_goes_in_or_out(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        it.text = f"- The database takes the password {SECRET} in staging, and {KEYS[ROUTER]}."
        key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASC\n-----END"
        text = f"{SAID} The password is {SECRET}; the key is {json.dumps(key)}."
        env = says(rig, text) | it.env(ROUTER) | {"DB_PASSWORD": SECRET, "DEPLOY_KEY": key}
        async with running_worker(rig, env):
            await rig.submit(f"Use {SECRET}")
            memory = await until_remembered(rig)
        prompt = it.questions[0].body["messages"][-1]["content"]
        for secret in (SECRET, "MIIEvQIBADANBgkqhkiG9w0B", "AQEFAASC"):
            assert secret not in prompt
        assert SAID.strip() in prompt
        for secret in (SECRET, KEYS[ROUTER]):
            assert secret not in str(memory)
            assert secret not in rig.worker_log.getvalue()


async def test_only_the_end_of_a_long_session_is_sent(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        long = "".join(f"step {number} of many; " for number in range(5000)) + SAID
        async with running_worker(rig, says(rig, long) | it.env(ROUTER)):
            await rig.submit()
            await until_remembered(rig)
        prompt = it.questions[0].body["messages"][-1]["content"]
        assert prompt.endswith(SAID.strip())
        assert "step 4999 of" in prompt
        assert "step 3000 of" not in prompt


# --- keys that rest
async def rest(rig: Rig, variable: str, key: str, index: int) -> None:
    limit = {"keyType": variable, "keySuffix": key[-5:], "keyIndex": index}
    until_then = {"rateLimitedUntil": "2099-01-01T00:00:00.000Z"}
    await rig.post("/api/keys/report-rate-limit", limit | until_then)


@pytest.mark.long
async def test_a_key_that_rests_is_not_used(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        pool = {ROUTER: f"{KEYS[ROUTER]}-first,{KEYS[ROUTER]}-other"}
        await rest(rig, ROUTER, "first", 0)
        async with running_worker(rig, says(rig) | it.env(ROUTER) | pool):
            await rig.submit()
            await until_remembered(rig)
        assert it.questions[0].headers["authorization"].endswith("-other")


async def test_none_is_asked_if_every_key_rests(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        for variable in (ROUTER, "OPENAI_API_KEY"):
            await rest(rig, variable, KEYS[variable], 0)
        async with running_worker(rig, says(rig) | it.env(ROUTER, "OPENAI_API_KEY")):
            await rig.submit()
            assert "may be used" in await until_skipped(rig)
        assert it.questions == []


@pytest.mark.long
async def test_none_is_asked_while_it_is_not_known_which_keys_rest(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        proxy.refuse("/api/keys/available.*OPENROUTER", 500)
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            await rig.submit()
            await until(lambda: proxy.seen("/api/keys/available"))
            assert it.questions == []
            proxy.be_open()
            await until_remembered(rig)


async def test_a_rest_that_only_this_worker_knows_counts():
    async def available(_: str, total: int) -> Any:
        return range(total)

    env = {"K": "aaaaaaaa-first,bbbbbbbb-other"}
    known = await usable_key("K", env, available, rests=lambda suffix: suffix == "first")
    assert known is not None
    assert known.value == "bbbbbbbb-other"
    assert await usable_key("K", env, available, rests=lambda _: True) is None


# --- failures
@pytest.mark.long
async def test_another_credential_is_tried_and_the_task_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(summaries, "RETRY_S", 0.01)
    async with summary_rig(tmp_path) as (rig, _, it):
        it.reply = Reply(500, {"error": "not now"})
        async with running_worker(rig, says(rig) | it.env(ROUTER, "ANTHROPIC_API_KEY")):
            task_id = await rig.submit()
            assert "500" in await until_skipped(rig)
            assert (await rig.task(task_id))["status"] == "completed"
        paths = [question.path for question in it.questions]
        assert paths == ["/router/chat/completions", "/v1/messages", "/router/chat/completions"]
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            pass
        assert len(it.questions) == 3  # given up for good
        assert await memories(rig) == []


@pytest.mark.parametrize("reply", [Reply(200, "<html>"), Reply(200, {"error": {"code": 429}})])
async def test_an_answer_that_is_none_is_never_a_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply
):
    monkeypatch.setattr(summaries, "RETRY_S", 0.01)
    async with summary_rig(tmp_path) as (rig, _, it):
        it.reply = reply
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            await rig.submit()
            await until_skipped(rig)
        assert await memories(rig) == []


async def test_an_error_in_the_request_does_not_reach_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(session_summary, "services_for", fail)
    async with summary_rig(tmp_path) as (rig, _, it):
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            task = await rig.until_ended(await rig.submit())
            assert task["status"] == "completed"
        assert "a bug" in rig.logged(Event.SESSION_SUMMARY)[0]["why"]
        assert it.questions == []


@pytest.mark.long
async def test_a_model_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(summaries, "RETRY_S", 0.01)
    monkeypatch.setattr(summaries, "ANSWER_S", 0.3)
    async with summary_rig(tmp_path) as (rig, _, it):
        it.reply = Hang()
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            first = await rig.submit()
            await rig.settled(first)
            second = await rig.submit()  # the slot is free meanwhile
            assert (await rig.until_ended(second))["status"] == "completed"
            assert "no answer within" in await until_skipped(rig)


@pytest.mark.long
async def test_a_long_answer_is_shortened(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        it.text = LEARNED * 1000
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            await rig.submit()
            memory = await until_remembered(rig)
        assert memory["content"].startswith(LEARNED * 10)
        assert len(memory["content"]) <= summaries.MAX_SUMMARY_CHARS


@pytest.mark.long
async def test_a_shutdown_leaves_it_to_the_next_start(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        it.reply = Hang()
        async with running_worker(rig, says(rig) | it.env(ROUTER), drain_ms=600):
            task_id = await rig.submit()
            await until(lambda: it.questions)
            assert (await rig.task(task_id))["status"] == "completed"
        assert await memories(rig) == []
        it.reply = None
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            await until_remembered(rig)
        assert len(it.questions) == 2


# --- kills
async def killed_then_restarted(
    rig: Rig, it: Vendor, place: Path, env: dict[str, str], ready: Any
) -> str:
    """Kill a worker when `ready`, and return the task after another one is done with all."""
    async with worker_process(place, {**rig.env, **env, **it.env(ROUTER)}) as worker:
        task_id = await rig.submit()
        await until(ready)
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
    it.reply = None
    async with worker_process(place, {**rig.env, **env, **it.env(ROUTER)}) as worker:
        await worker.until_logged(Event.WORKER_STARTED)
        await until_remembered(rig)
        await rig.until(lambda: summary_costs(rig, task_id))
        worker.signal()
        assert await worker.exit_code() == 0
        assert not worker.logged(Event.WORKER_STOPPED)[0].get("undelivered")
    return task_id


@pytest.mark.long
async def test_a_kill_during_the_question(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        it.reply = Hang()
        task_id = await killed_then_restarted(
            rig, it, tmp_path, says(rig), lambda: bool(it.questions)
        )
        assert len(await memories(rig)) == len(await summary_costs(rig, task_id)) == 1
        assert len(proxy.seen("POST /api/memory/index")) == 1


@pytest.mark.long
async def test_a_kill_between_the_memory_and_its_answer(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        held = proxy.hold_answer("POST /api/memory/index")
        task_id = await killed_then_restarted(rig, it, tmp_path, says(rig), held.reached.is_set)
        held.open.set()
        assert len(await memories(rig)) == len(await summary_costs(rig, task_id)) == 1
        assert len(proxy.seen("POST /api/memory/index")) == 1
        assert len(it.questions) == 1


@pytest.mark.parametrize("how", ["cut", "500"])
async def test_a_lost_answer_is_looked_up(tmp_path: Path, how: str):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        proxy.lose_answer("POST /api/memory/index", how)
        async with running_worker(rig, says(rig) | it.env(ROUTER)):
            await rig.submit()
            await until(lambda: proxy.seen("POST /api/memory/list"))
            await until_remembered(rig)
        assert len(proxy.seen("POST /api/memory/index")) == 1


@pytest.mark.long
async def test_a_server_without_the_list_replaces_the_memory(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        held = proxy.hold_answer("POST /api/memory/index")
        proxy.lack("POST /api/memory/list")
        await killed_then_restarted(rig, it, tmp_path, says(rig), held.reached.is_set)
        held.open.set()
        await rig.until(lambda: len(proxy.seen("POST /api/memory/index")) == 2)
        assert len(await memories(rig)) == 1


@pytest.mark.long
async def test_a_kill_before_the_finish_is_sent(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, proxy, it):
        held = proxy.hold("POST /api/tasks/.*/finish")
        task_id = await killed_then_restarted(rig, it, tmp_path, says(rig), held.reached.is_set)
        held.open.set()
        assert (await rig.task(task_id))["status"] == "completed"
        names = proxy.names()
        assert names.index("POST /api/memory/index") > names.index(
            f"POST /api/tasks/{task_id}/finish"
        )
        assert len(it.questions) == 1


@pytest.mark.long
async def test_a_kill_before_the_session_was_reported(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        env = rig.agent(STAYS) | {"HARNESS_OUTPUT": "stream-json", "SWARM_RESULT_GRACE_S": "600"}
        task_id = await killed_then_restarted(
            rig, it, tmp_path, env, lambda: (tmp_path / "said").exists()
        )
        assert (await rig.task(task_id))["status"] == "completed"
        assert SAID.strip() in it.questions[0].body["messages"][-1]["content"]


STAYS = f"""
import json, os, pathlib, sys, time
def say(**event):
    print(json.dumps(event), flush=True)
text = {{"type": "text", "text": {SAID!r}}}
say(type="system", subtype="init", session_id="s-1", model="m-1")
say(type="assistant", session_id="s-1", message={{"role": "assistant", "content": [text]}})
say(type="result", subtype="success", is_error=False, result="done", session_id="s-1")
time.sleep(1)
pathlib.Path(os.environ["SWARM_STATE_DIR"]).parent.joinpath("said").touch()
time.sleep(600)
"""

# --- a login that only a program may use
CLI = f"""
import json, os, pathlib, sys
place = pathlib.Path(os.environ["HOME"]).parent
said = sys.stdin.read()
if "stream-json" not in sys.argv:
    names = ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "SKIP_SESSION_SUMMARY")
    seen = {{name: os.environ.get(name) for name in names}}
    seen |= {{"argv": sys.argv[1:], "cwd": os.getcwd(), "files": os.listdir(), "said": said}}
    place.joinpath("asked.json").write_text(json.dumps(seen))
    usage = {{"input_tokens": 900, "output_tokens": 90}}
    answer = {{"type": "result", "is_error": False, "result": {LEARNED!r}}}
    print(json.dumps(answer | {{"usage": usage, "total_cost_usd": 0.002}}))
    sys.exit()
def say(**event):
    print(json.dumps(event), flush=True)
text = {{"type": "text", "text": {SAID!r}}}
say(type="system", subtype="init", session_id="s-1", model="m-1")
say(type="assistant", session_id="s-1", message={{"role": "assistant", "content": [text]}})
say(type="result", subtype="success", is_error=False, result="done", session_id="s-1")
"""


async def test_a_subscription_is_used_through_its_program_without_tools(tmp_path: Path):
    async with summary_rig(tmp_path) as (rig, _, it):
        program = tmp_path / "claude.py"
        program.write_text(CLI)
        (tmp_path / "home").mkdir()
        token = "sk-ant-oat01-of-the-tests-0123456789"
        env = {
            "HARNESS_PROVIDER": "claude",
            "CLAUDE_BINARY": shlex.join([sys.executable, str(program)]),
            "CLAUDE_QUEUE_STEERING": "off",
            "CLAUDE_CODE_OAUTH_TOKEN": token,
        }
        async with running_worker(rig, env | it.env()):
            task_id = await rig.submit()
            assert (await until_remembered(rig))["content"] == LEARNED
            (cost,) = await rig.until(lambda: summary_costs(rig, task_id))
            assert (cost["totalCostUsd"], cost["inputTokens"]) == (0.002, 900)
        asked = json.loads((tmp_path / "asked.json").read_text())
        assert asked["CLAUDE_CODE_OAUTH_TOKEN"] == token
        assert asked["SKIP_SESSION_SUMMARY"] == "1"
        assert asked["argv"][:3] == ["-p", "--model", "haiku"]
        assert asked["argv"][asked["argv"].index("--tools") + 1] == ""
        assert not any("dangerously" in word for word in asked["argv"])
        assert asked["files"] == []
        assert SAID.strip() in asked["said"]
        assert not Path(asked["cwd"]).exists()
        assert it.questions == []


LOGIN = {
    "access": "access-token-of-the-tests-0123456789",
    "refresh": "refresh-token-of-the-tests-0123456789",
    "expires": 4_102_444_800_000,
    "accountId": "account-of-the-tests",
}


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_chatgpt_login_is_used_and_never_renewed(tmp_path: Path, is_shared: bool):
    async with summary_rig(tmp_path) as (rig, _, it):
        done = {"usage": {"input_tokens": 800, "output_tokens": 80}}
        events = [
            {"type": "response.output_text.delta", "delta": LEARNED[:20]},
            {"type": "response.output_text.delta", "delta": LEARNED[20:]},
            {"type": "response.completed", "response": done},
        ]
        lines = "".join(f"event: x\ndata: {json.dumps(event)}\n\n" for event in events)
        it.reply = Reply(200, lines, "text/event-stream")
        env = says(rig) | it.env() | {"CODEX_CHATGPT_BASE_URL": f"{it.url}/backend-api"}
        if is_shared:
            await rig.set_row("codex_oauth_0", json.dumps(LOGIN), is_secret=True)
        else:
            env["CODEX_OAUTH"] = json.dumps(LOGIN)
        async with running_worker(rig, env):
            task_id = await rig.submit()
            assert (await until_remembered(rig))["content"] == LEARNED
            (cost,) = await rig.until(lambda: summary_costs(rig, task_id))
            assert (cost["inputTokens"], cost["outputTokens"]) == (800, 80)
            assert cost["totalCostUsd"] > 0
        (question,) = it.questions
        assert question.path == "/backend-api/codex/responses"
        assert question.headers["authorization"] == f"Bearer {LOGIN['access']}"
        assert question.headers["chatgpt-account-id"] == LOGIN["accountId"]
        assert question.body["model"] == "gpt-5.4-mini"
        assert "tools" not in question.body
        assert SAID.strip() in question.body["input"][0]["content"][0]["text"]
        assert LOGIN["refresh"] not in str(it.questions)


async def test_a_stream_that_breaks_off_is_no_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(summaries, "RETRY_S", 0.01)
    async with summary_rig(tmp_path) as (rig, _, it):
        half = {"type": "response.output_text.delta", "delta": LEARNED}
        it.reply = Reply(200, f"data: {json.dumps(half)}\n\n", "text/event-stream")
        env = says(rig) | it.env() | {"CODEX_CHATGPT_BASE_URL": it.url}
        async with running_worker(rig, env | {"CODEX_OAUTH": json.dumps(LOGIN)}):
            await rig.submit()
            assert "broke off" in await until_skipped(rig)
        assert await memories(rig) == []
