"""Compaction of long conversations; the system prompt stays the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_model import FakeModel, Raw, Turn
from pi_rig import SessionDirs, run

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["openai", "anthropic"])
LS = ("ls", {"path": "."})


@pytest.fixture
def dirs(tmp_path: Path) -> SessionDirs:
    return SessionDirs(tmp_path)


def small_window(dirs: SessionDirs, model: FakeModel, tokens: int, api: str) -> dict[str, str]:
    """Settings with a provider of the operator's own whose model has a small window."""
    agent = dirs.root / "agent"
    agent.mkdir()
    kind, url = (
        ("anthropic-messages", model.url)
        if api == "anthropic"
        else (
            "openai-completions",
            f"{model.url}/v1",
        )
    )
    entry = {
        "baseUrl": url,
        "api": kind,
        "apiKey": "MINE_KEY",
        "models": [
            {
                "id": "small/one",
                "contextWindow": tokens,
                "maxTokens": 777,
                "cost": {"input": 1, "output": 2, "cacheRead": 0.5, "cacheWrite": 4},
            }
        ],
    }
    (agent / "models.json").write_text(json.dumps({"providers": {"mine": entry}}))
    return {
        "PI_CODING_AGENT_DIR": str(agent),
        "MODEL_OVERRIDE": "mine/small/one",
        "MINE_KEY": "my-own-key-0123456789",
    }


@BOTH
async def test_a_full_window_is_summarised_and_the_work_goes_on(dirs: SessionDirs, api: str):
    turns = (
        Turn("Step one.", [LS], input_tokens=100),
        Turn("Step two.", [LS], input_tokens=9000),
        Turn("SUMMARY: one and two are done.", input_tokens=500),
        Turn("Step three.", [LS], input_tokens=600),
        Turn("Finished.", input_tokens=700),
    )
    async with FakeModel(*turns) as model:
        env = small_window(dirs, model, 10_000, api)
        ran = await run(dirs, model, api, "Do the three steps.", env=env)
        resumed = await run(
            dirs,
            model,
            api,
            "And now?",
            env=env,
            resume_session_id=ran.result.session_id,
        )
    assert ran.result.output == "Finished."
    (compaction,) = ran.of("compaction")
    assert 9000 <= compaction.pre_compact_tokens <= 9100
    assert compaction.context_total_tokens == 10_000
    after = model.requests[3]
    assert "SUMMARY: one and two are done." in after.messages
    assert "Do the three steps." in after.messages
    assert after.system.startswith("You are the tested one.")
    assert "SUMMARY" in json.dumps(
        [r for r in dirs.journal() if r.get("subtype") == "compaction_end"]
    )
    assert model.requests[0].headers.get("x-api-key") == "my-own-key-0123456789" or (
        model.requests[0].headers["authorization"] == "Bearer my-own-key-0123456789"
    )
    # The summary is paid for as well, and a resumed session starts from it.
    assert ran.result.cost is not None
    assert ran.result.cost.num_turns == 5
    assert ran.result.cost.total_cost_usd == pytest.approx((10_900 * 1 + 50 * 2) / 1e6)
    assert not resumed.result.is_error
    assert "SUMMARY" in model.requests[-1].messages
    assert "Finished." in model.requests[-1].messages


@BOTH
async def test_a_model_that_finds_it_too_long_gets_a_summary_once(dirs: SessionDirs, api: str):
    long = Raw(
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 210000 tokens",
            },
        },
    )
    turns = (Turn("One.", [LS]), long, Turn("SUMMARY."), Turn("Finished."))
    async with FakeModel(*turns) as model:
        ran = await run(dirs, model, api)
        assert ran.result.output == "Finished."
        assert len(ran.of("compaction")) == 1
        model.steps, model.requests = [long, Turn("SUMMARY."), long, Turn("SUMMARY.")], []
        again = await run(dirs, model, api)
    assert again.result.error_category == "context_overflow"
    assert len(model.requests) == 3


async def test_a_huge_answer_of_a_tool_does_not_end_the_session(dirs: SessionDirs):
    huge = ("bash", {"command": "head -c 300000 /dev/zero | tr '\\0' 'x'"})
    turns = (Turn("Look.", [huge, huge, huge]), Turn("SUMMARY."), Turn("Finished."))
    async with FakeModel(*turns) as model:
        env = small_window(dirs, model, 8_000, "openai")
        ran = await run(dirs, model, env=env)
    assert ran.result.output == "Finished."
    assert max(len(request.messages) for request in model.requests) < 8_000 * 4


async def test_what_was_asked_last_survives_a_summary(dirs: SessionDirs):
    async with FakeModel(Turn("x" * 40_000)) as model:
        env = small_window(dirs, model, 8_000, "openai")
        ran = await run(dirs, model, prompt="The first task.", env=env)
        model.steps, model.requests = [Turn("SUMMARY."), Turn("Finished.")], []
        resumed = {"resume_session_id": ran.result.session_id}
        again = await run(dirs, model, prompt="The second task.", env=env, **resumed)
    assert again.result.output == "Finished."
    text = model.requests[1].messages
    order = ["The first task.", "The second task.", "SUMMARY."]
    assert sorted(order, key=text.index) == order


@BOTH
async def test_the_system_prompt_arrives_to_the_letter(dirs: SessionDirs, api: str):
    exact = "  Line one\r\n\n<tag> & “quotes” $& $' \\n {braces} <|im_end|>\n\tEnd \u2028\U0001f600"
    (dirs.root / "work").mkdir()
    (dirs.root / "work/AGENTS.md").write_text("Use tabs here.")
    (dirs.root / "work/CLAUDE.md").write_text("Use spaces here.")
    async with FakeModel() as model:
        await run(dirs, model, api, system_prompt=exact)
        (dirs.root / "work/AGENTS.md").unlink()
        (dirs.root / "work/CLAUDE.md").write_text("Use spaces here." + "x" * 100_000)
        await run(dirs, model, api, system_prompt=exact)
    first, second = (request.system for request in model.requests)
    assert first.startswith(exact)
    assert "Use tabs here." in first
    assert "Use spaces here." not in first
    assert second.startswith(exact)
    assert "Use spaces here." in second
    assert len(second) < 80_000


async def test_effort_a_model_refuses_is_left_out(dirs: SessionDirs):
    no = Raw(
        400,
        {
            "error": {
                "message": "Unsupported value: reasoning_effort 'xhigh'",
                "type": "invalid_request_error",
            }
        },
    )
    env = {"MODEL_OVERRIDE": "openai/gpt-5.6"}
    async with FakeModel(no, Turn("Fine.")) as model:
        ran = await run(dirs, model, env=env, reasoning_effort="xhigh")
    assert ran.result.output == "Fine."
    assert "reasoning_effort" in model.requests[0].body
    assert "reasoning_effort" not in model.requests[1].body
    assert ran.result.applied_reasoning_effort is None
    assert "xhigh" in ran.of("raw_stderr")[0].content


async def test_effort_that_is_taken_is_reported(dirs: SessionDirs):
    async with FakeModel(Turn("Fine.")) as model:
        env = {"MODEL_OVERRIDE": "openai/gpt-5.6"}
        ran = await run(dirs, model, env=env, reasoning_effort="low")
    assert model.requests[0].body["reasoning_effort"] == "low"
    assert ran.result.applied_reasoning_effort == "low"


@BOTH
async def test_tokens_of_the_cache_are_counted_apart(dirs: SessionDirs, api: str):
    turn = Turn("Fine.", input_tokens=7, cached=1000, written=200, output_tokens=3)
    async with FakeModel(turn) as model:
        ran = await run(dirs, model, api)
    cost = ran.result.cost
    assert cost is not None
    written = 200 if api == "anthropic" else 0
    assert (cost.input_tokens, cost.cache_read_tokens) == (7, 1000)
    assert (cost.cache_write_tokens, cost.output_tokens) == (written, 3)
    (usage,) = ran.of("context_usage")
    assert usage.context_used_tokens == 1010 + written
    assert cost.models[0].cache_read_tokens == 1000
    # Nobody knows the price of this model: that is not nothing.
    assert cost.total_cost_usd is None
    assert cost.models[0].harness_cost_usd is None


async def test_openrouter_says_what_it_cost(dirs: SessionDirs):
    async with FakeModel(Turn("One.", [LS], usd=0.25), Turn("Two.", usd=0.5)) as model:
        ran = await run(dirs, model, "openrouter")
    assert ran.result.cost is not None
    assert ran.result.cost.total_cost_usd == pytest.approx(0.75)
    assert model.requests[0].path == "/api/v1/chat/completions"
    assert ran.of("session_init")[0].model == "openrouter/fake/model"


async def test_list_prices_charge_the_cache_once(dirs: SessionDirs):
    turn = Turn("Fine.", input_tokens=1000, cached=10_000, written=2000, output_tokens=100)
    async with FakeModel(turn) as model:
        env = {"MODEL_OVERRIDE": "anthropic/claude-opus-4-8"}
        ran = await run(dirs, model, "anthropic", env=env)
    assert ran.result.cost is not None
    expected = (1000 * 5 + 10_000 * 0.5 + 2000 * 6.25 + 100 * 25) / 1e6
    assert ran.result.cost.total_cost_usd == pytest.approx(expected)
