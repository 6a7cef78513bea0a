"""Models that fail, hang, break off or send malformed answers; limits of a session."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from fake_model import FakeModel, Raw, Silence, Step, Turn
from patience import HANG_S
from pi_env import load_libraries
from pi_rig import SessionDirs, run, start

from agent_swarm_worker.errors import CredentialsMissing, UnknownModel

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["openai", "anthropic"])
LS = ("ls", {"path": "."})


@pytest.fixture
def dirs(tmp_path: Path) -> SessionDirs:
    return SessionDirs(tmp_path)


def refusal(status: int, kind: str, message: str, **headers: str) -> Raw:
    error = {"type": kind, "message": message}
    return Raw(status, {"type": "error", "error": error}, headers)


@BOTH
@pytest.mark.parametrize(
    "trouble",
    [
        refusal(429, "rate_limit_error", "slow down"),
        refusal(500, "api_error", "oops"),
        refusal(529, "overloaded_error", "Overloaded"),
        Raw(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
        Raw(200, b"<html>welcome to the captive portal</html>", {"content-type": "text/html"}),
        Turn("Half of the ans", cut=True),
        Turn("Half of the ans", half=True),
    ],
    ids=["429", "500", "529", "html-502", "html-200", "cut", "half"],
)
async def test_what_passes_is_tried_again(dirs: SessionDirs, api: str, trouble: Step):
    async with FakeModel(trouble, trouble, Turn("Made it.")) as model:
        ran = await run(dirs, model, api)
    assert ran.result.output == "Made it."
    assert not ran.result.is_error
    assert len(model.requests) == 3
    assert [event.message[:20] for event in ran.of("progress")] == ["Model request failed"] * 2


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "message", "category"),
    [
        (401, "authentication_error", "invalid x-api-key", "authentication_failed"),
        (403, "permission_error", "not for you", "permission_denied"),
        (404, "not_found_error", "model: claude-fake-1 not found", "model_not_found"),
        (400, "invalid_request_error", "messages: what is this", "invalid_request"),
        (402, "billing_error", "Your credit balance is too low", "billing_error"),
        (429, "insufficient_quota", "You exceeded your current quota", "billing_error"),
    ],
)
async def test_what_does_not_pass_fails_at_once(
    dirs: SessionDirs, api: str, status: int, kind: str, message: str, category: str
):
    async with FakeModel(refusal(status, kind, message)) as model:
        ran = await run(dirs, model, api)
    assert (ran.result.is_error, ran.result.error_category) == (True, category)
    assert message in (ran.result.failure_reason or "")
    assert len(model.requests) == 1
    (result,) = ran.of("result")
    assert (result.is_error, result.error_category) == (True, category)
    assert [event.category for event in ran.of("error")] == [category]


async def test_it_gives_up_in_the_end(dirs: SessionDirs):
    async with FakeModel(*[refusal(503, "api_error", "down for today")] * 9) as model:
        ran = await run(dirs, model)
    assert ran.result.error_category == "server_error"
    assert "down for today" in (ran.result.failure_reason or "")
    assert len(model.requests) == 5


class Slept:
    """A clock that writes down its sleeps instead of sleeping."""

    def __init__(self) -> None:
        from agent_swarm_worker.clock import SystemClock

        self._real = SystemClock()
        self.slept_s: list[float] = []
        self.monotonic, self.now = self._real.monotonic, self._real.now

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await anyio.lowlevel.checkpoint()


async def test_it_waits_as_long_as_it_was_asked_to(dirs: SessionDirs):
    clock = Slept()
    busy = refusal(429, "rate_limit_error", "slow down", **{"retry-after": "7"})
    async with FakeModel(busy, refusal(500, "api_error", "oops"), Turn("Ok.")) as model:
        ran = await run(dirs, model, env={"PI_RETRY_BASE_S": "2"}, clock=clock)
    assert ran.result.output == "Ok."
    assert clock.slept_s[:2] == [7.0, 4.0]


async def test_a_limit_that_lasts_ends_the_session_and_says_until_when(dirs: SessionDirs):
    busy = refusal(429, "rate_limit_error", "try later", **{"retry-after": "1800"})
    async with FakeModel(busy) as model:
        ran = await run(dirs, model)
    assert ran.result.error_category == "rate_limit"
    assert ran.result.rate_limit_reset_at is not None
    assert ran.result.rate_limit_reset_at.endswith("Z")
    assert len(model.requests) == 1


@BOTH
@pytest.mark.parametrize("silence", [Silence(), Turn("I was going to s", hang=True)])
async def test_a_model_that_falls_silent_is_given_up(dirs: SessionDirs, api: str, silence: Step):
    async with FakeModel(silence, silence, Turn()) as model:
        ran = await run(dirs, model, api, env={"PI_REQUEST_TIMEOUT_S": "0.3"})
    assert ran.result.error_category == "network"
    assert "said nothing for" in (ran.result.failure_reason or "")
    assert len(model.requests) == 2


async def test_nobody_there(dirs: SessionDirs):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    env = {"OPENAI_API_KEY": "sk-fake-0123456789abcdef"}
    env |= {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "MODEL_OVERRIDE": "openai/m"}
    session, _ = await start(dirs.config(env))
    result = await session.wait_for_completion()
    assert (result.is_error, result.error_category) == (True, "network")


@BOTH
async def test_nonsense_for_arguments_goes_back_to_the_model(dirs: SessionDirs, api: str):
    calls = [("ls", '{"path": '), ("nosuch", {"a": 1}), ("bash", "[1, 2]")]
    async with FakeModel(Turn("Trying.", calls), Turn("I see.")) as model:
        ran = await run(dirs, model, api)
    assert ran.result.output == "I see."
    ends = ran.of("tool_end")
    assert all(event.is_error for event in ends)
    said = [event.result for event in ends]
    assert "not a JSON object" in said[0]
    assert "There is no tool 'nosuch'" in said[1]
    assert "not a JSON object" in said[2]
    assert "There is no tool" in model.requests[1].messages


async def test_too_many_steps(dirs: SessionDirs):
    async with FakeModel(*[Turn("Again.", [LS])] * 9) as model:
        ran = await run(dirs, model, env={"PI_MAX_STEPS": "3"})
    assert ran.result.error_category == "max_turns"
    assert "PI_MAX_STEPS" in (ran.result.failure_reason or "")
    assert len(model.requests) == 3


async def test_too_expensive(dirs: SessionDirs):
    async with FakeModel(*[Turn("Again.", [LS], usd=0.4)] * 9) as model:
        ran = await run(dirs, model, "openrouter", env={"PI_MAX_COST_USD": "1"})
    assert ran.result.error_category == "max_budget"
    assert len(model.requests) == 3
    assert ran.result.cost is not None
    assert ran.result.cost.total_cost_usd == pytest.approx(1.2)


async def test_too_long(dirs: SessionDirs):
    load_libraries()
    async with FakeModel(Turn("One.", [LS]), Silence()) as model:
        ran = await run(dirs, model, env={"PI_MAX_SECONDS": "5"})
    assert ran.result.error_category == "max_time"
    assert ran.result.cost is not None


@pytest.mark.parametrize(
    ("step", "category"),
    [
        (Turn("Cut at the", stop="length"), "max_output_tokens"),
        (Turn("", stop="content_filter"), "refused"),
        (Turn(""), "empty_response"),
    ],
)
async def test_an_end_that_is_none(dirs: SessionDirs, step: Turn, category: str):
    async with FakeModel(step) as model:
        ran = await run(dirs, model)
    assert (ran.result.is_error, ran.result.error_category) == (True, category)


async def test_a_model_nobody_knows_is_never_replaced_by_another(dirs: SessionDirs):
    async with FakeModel() as model:
        for name in ("nosuch/model", "mystery"):
            env = {**model.env("anthropic"), "MODEL_OVERRIDE": name}
            with pytest.raises(UnknownModel, match=name):
                await start(dirs.config(env))
        env = {**model.env("anthropic"), "MODEL_OVERRIDE": "openai/gpt-9"}
        with pytest.raises(CredentialsMissing):
            await start(dirs.config(env))
    assert model.requests == []


async def aborted(dirs: SessionDirs, model: FakeModel, *, after_requests: int) -> Any:
    session, events = await start(dirs.config(model.env("anthropic")))
    took_s = 0.0

    async def abort() -> None:
        nonlocal took_s
        while len(model.requests) < after_requests:
            await anyio.sleep(0.01)
        await anyio.sleep(0.2)  # into the middle of it
        took_s = time.monotonic()
        await session.abort("cancelled by a person")

    async with anyio.create_task_group() as group:
        group.start_soon(abort)
        result = await session.wait_for_completion()
    assert time.monotonic() - took_s < HANG_S
    assert (result.is_error, result.error_category) == (True, "aborted")
    assert "cancelled by a person" in (result.failure_reason or "")
    assert [event.type for event in events].count("result") == 1
    return result


@pytest.mark.parametrize(
    "hanging",
    [Silence(), Turn("A long", hang=True), Turn("Wait.", [("bash", {"command": "sleep 60"})])],
    ids=["connect", "stream", "tool"],
)
async def test_abort_ends_whatever_it_is_doing(dirs: SessionDirs, hanging: Step):
    async with FakeModel(Turn("One.", [LS]), hanging) as model:
        result = await aborted(dirs, model, after_requests=2)
    assert result.cost is not None
    assert result.cost.input_tokens >= 100
    assert result.output in ("One.", "Wait.")
    assert len(dirs.saved()) == 1
    assert dirs.journal()[-1]["subtype"] == "aborted"


async def test_abort_before_the_start(dirs: SessionDirs):
    async with FakeModel() as model:
        session, _ = await start(dirs.config(model.env("openai")))
        await session.abort("too late anyway")
        await session.abort("again")
        result = await session.wait_for_completion()
    assert result.error_category == "aborted"
    assert model.requests == []
