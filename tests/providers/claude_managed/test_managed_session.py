"""Sessions of claude-managed against the API on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from fake_managed import AGENT, KEY, MODEL, FakeManaged
from fake_vendor import HTML, journal_of, ran, running, until_written
from session_config import session_config

from agent_swarm_worker.contract import Ending, ProviderSessionConfig
from agent_swarm_worker.errors import CredentialsMissing, ProviderError
from agent_swarm_worker.journal.records import replay
from agent_swarm_worker.providers.claude_managed.adapter import ManagedAdapter
from agent_swarm_worker.providers.claude_managed.session import ManagedSession
from agent_swarm_worker.providers.claude_managed.translate import ManagedTranslator
from agent_swarm_worker.providers.kit import costs

pytestmark = pytest.mark.anyio
STREAM = "GET .*/events/stream"
LIST = "GET .*/events$"
SEND = "POST .*/events$"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for little between two tries."""
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_api.FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_api.MAX_PAUSE_S", 0.02)
    monkeypatch.setattr("agent_swarm_worker.providers.claude_managed.session.REOPEN_S", 0.02)
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_session.CREATE_S", 0.5)


def config_of(
    place: Path, vendor: FakeManaged, prompt: str = "answer: Hello.", **changed: Any
) -> ProviderSessionConfig:
    env = {**vendor.env, **changed.pop("env", {})}
    return session_config(place, prompt=prompt, env=env, **changed)


async def session_of(config: ProviderSessionConfig) -> ManagedSession:
    session = await ManagedAdapter().create_session(config)
    assert isinstance(session, ManagedSession)
    return session


async def until(look: Callable[[], Any]) -> None:
    with anyio.fail_after(30):
        while not look():
            await anyio.sleep(0.01)


async def test_a_session_from_the_prompt_to_its_cost(tmp_path: Path):
    async with FakeManaged(page=2) as vendor:
        config = config_of(
            tmp_path,
            vendor,
            system_prompt="Be kind.",
            vcs_repo="o/r",
            env={
                "MANAGED_MCP_VAULT_ID": "vlt_1",
                "MANAGED_GITHUB_VAULT_ID": "vlt_1",
                "MANAGED_GITHUB_TOKEN": "ghp_0123456789abcdef",
            },
        )
        end = await ran(await session_of(config))
        assert (end.result.is_error, end.result.output) == (False, "Hello.")
        (created,) = vendor.made("POST /v1/sessions$")
        assert created.body["agent"] == AGENT
        assert created.body["vault_ids"] == ["vlt_1"]
        (repository,) = created.body["resources"]
        assert repository["url"] == "https://github.com/o/r"
        (sent,) = vendor.made(SEND)
        own, asked = [block["text"] for block in sent.body["events"][0]["content"]]
        assert own == "[swarm worker] agentId=agent-1\n\nBe kind."
        assert asked == "---\n\nUser request:\nanswer: Hello."
        assert "ghp_0123456789abcdef" not in config.log_file.read_text()
        cost = end.result.cost
        assert cost is not None
        price = costs.usd(
            MODEL, provider="anthropic", input_tokens=1500, cached_tokens=200,
            cache_write_tokens=300, output_tokens=100,
        )  # fmt: skip
        assert price is not None
        assert cost.total_cost_usd == pytest.approx(price + 36 / 3600 * 0.08)
        assert (cost.input_tokens, cost.cache_read_tokens, cost.num_turns) == (1000, 200, 1)
        assert cost.models[0].model == MODEL
        (usage,) = end.of("context_usage")
        assert usage.context_used_tokens == 1600
        assert vendor.session.archived_at is None  # a follow-up may go on with it


async def test_tools_and_the_model_of_the_task(tmp_path: Path):
    async with FakeManaged() as vendor:
        config = config_of(tmp_path, vendor, "work: 0.05", model="opus")
        end = await ran(await session_of(config))
        (start,), (stop,) = end.of("tool_start"), end.of("tool_end")
        assert (start.tool_name, start.args) == ("bash", {"command": "sleep"})
        assert (stop.tool_name, stop.result, stop.is_error) == ("bash", "slept", False)
        assert vendor.session.body["agent"]["model"] == "claude-opus-4-8"
        assert end.of("session_init")[0].model == "claude-opus-4-8"


async def test_a_model_without_a_price_has_no_cost(tmp_path: Path):
    async with FakeManaged() as vendor:
        end = await ran(await session_of(config_of(tmp_path, vendor, model="claude-nobody-9")))
        assert end.result.cost is not None
        assert end.result.cost.total_cost_usd is None
        assert end.result.cost.input_tokens == 1000


async def test_nothing_secret_is_told_or_written(tmp_path: Path):
    async with FakeManaged() as vendor:
        config = config_of(tmp_path, vendor, f"answer: the key is {KEY}")
        end = await ran(await session_of(config))
        assert KEY not in repr(end.events) + repr(end.result)
        assert KEY not in config.log_file.read_text()


async def test_a_replay_of_the_journal_gives_the_same_result(tmp_path: Path):
    async with FakeManaged() as vendor:
        config = config_of(tmp_path, vendor, "work: 0.05")
        end = await ran(await session_of(config))
    translator = await ManagedAdapter().translator(config)
    await replay(
        config.log_file, translator, lambda _: None, redactor=config.redactor,
        reported_offset=0, unreported=lambda _: None,
    )  # fmt: skip
    again = translator.conclude(Ending(exit_code=0))
    assert (again.output, again.cost) == (end.result.output, end.result.cost)


@pytest.mark.parametrize(
    ("reason", "is_archived"),
    [("cancelled", True), ("lost", True), ("tool-loop: x", True), ("graceful_shutdown", False)],
)
async def test_an_aborted_session_is_ended_at_the_vendor(
    tmp_path: Path, reason: str, is_archived: bool
):
    async with FakeManaged() as vendor:
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session) as results:
            await until_written(session, "tool_use")
            await session.abort(reason)
        assert vendor.session.status in ("idle", "terminated")
        assert (vendor.session.archived_at is not None) is is_archived
        assert (results[0].result.error_category, results[0].result.exit_code) == ("aborted", 130)
        assert results[0].result.cost is not None


async def test_an_agent_that_does_not_stop_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_session.END_S", 1.5)
    async with FakeManaged() as vendor:
        vendor.is_deaf = True
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session) as results:
            await until_written(session, "tool_use")
            await session.abort()
        assert "may go on at the vendor" in (results[0].result.failure_reason or "")
        assert len(vendor.made(SEND)) > 2


async def test_an_abort_while_it_is_created_ends_what_is_created(tmp_path: Path):
    async with FakeManaged() as vendor:
        vendor.fail("POST /v1/sessions$", hangs=True, acts=True)
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session):
            await until(lambda: vendor.sessions)
            await session.abort()
        assert vendor.session.archived_at is not None


async def test_a_cut_stream_goes_on_where_it_ended(tmp_path: Path):
    async with FakeManaged() as vendor:
        vendor.cuts = 1000  # after each event
        config = config_of(tmp_path, vendor, "work: 0.2")
        end = await ran(await session_of(config))
        assert end.result.output == "done"
        assert vendor.cuts < 1000
        journal = journal_of(config)
        ids = [line["id"] for line in journal if "id" in line]
        assert ids == [event["id"] for event in vendor.session.events]
        assert len(end.of("tool_start")) == len(end.of("tool_end")) == 1
        assert end.result.cost is not None
        assert end.result.cost.num_turns == 1


async def test_a_silent_stream_is_opened_again(tmp_path: Path):
    async with FakeManaged(acts=False) as vendor:
        config = config_of(tmp_path, vendor, env={"CLAUDE_MANAGED_REQUEST_TIMEOUT_S": "0.1"})
        session = await session_of(config)
        async with running(session) as results:
            await until(lambda: vendor.session.queue if vendor.sessions else None)
            vendor.begins(vendor.session)
            await vendor.until_made(STREAM, 12)  # more than ten: a quiet agent is no failure
            vendor.says(vendor.session, "Finally.")
            vendor.rests(vendor.session)
        assert results[0].result.output == "Finally."


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"retry-after": "0"}},
        {"status": 529, "body": {"error": {"message": "Overloaded"}}},
        {"status": 500, "body": HTML},
        {"status": 200, "body": HTML},
        {"status": 200, "half": True},
        {"status": 409},
        {"hangs": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("call", [STREAM, LIST], ids=["stream", "list"])
async def test_a_failing_request_is_repeated(tmp_path: Path, call: str, fault: dict[str, Any]):
    async with FakeManaged() as vendor:
        vendor.fail(call, **fault, times=3)
        config = config_of(tmp_path, vendor, env={"CLAUDE_MANAGED_REQUEST_TIMEOUT_S": "0.4"})
        end = await ran(await session_of(config))
        assert end.result.output == "Hello."
        assert len(end.of("message")) == 1
        assert len(vendor.made(SEND)) == 1


async def test_without_a_stream_the_events_are_polled(tmp_path: Path):
    async with FakeManaged() as vendor:
        vendor.fail(STREAM, 503, times=10_000)
        end = await ran(await session_of(config_of(tmp_path, vendor, "work: 0.3")))
        assert end.result.output == "done"


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"hangs": True}, {"half": True}, {"body": HTML}]
)
@pytest.mark.parametrize("call", ["POST /v1/sessions$", SEND], ids=["create", "send"])
async def test_it_is_created_and_asked_once(tmp_path: Path, call: str, fault: dict[str, Any]):
    async with FakeManaged() as vendor:
        vendor.fail(call, acts=True, **fault)
        config = config_of(tmp_path, vendor, env={"CLAUDE_MANAGED_REQUEST_TIMEOUT_S": "0.4"})
        end = await ran(await session_of(config))
        assert end.result.output == "Hello."
        assert len(vendor.said) == len(vendor.sessions) == 1
        vendor.fail(call, **fault)
        config = config_of(tmp_path, vendor, env={"CLAUDE_MANAGED_REQUEST_TIMEOUT_S": "0.4"})
        assert (await ran(await session_of(config))).result.output == "Hello."
        assert len(vendor.said) == len(vendor.sessions) == 2


REFUSALS = {
    401: "authentication_failed",
    402: "billing_error",
    403: "permission_denied",
    404: "stale_session",
    422: "invalid_request",
}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, "poll_failure"), (429, "rate_limit"), (409, "poll_failure"), *REFUSALS.items()],
)
async def test_requests_that_keep_failing_end_the_session(tmp_path: Path, status: int, kind: str):
    async with FakeManaged() as vendor:
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session) as results:
            await until_written(session, "tool_use")
            vendor.fail(f"{LIST}|{STREAM}", status, body={"error": {"message": "no"}}, times=1000)
            vendor.cuts = 1
            vendor.emit(vendor.session, "agent.thinking")
        assert (results[0].result.is_error, results[0].result.error_category) == (True, kind)
        assert vendor.session.archived_at is not None


@pytest.mark.parametrize(("status", "kind"), [*REFUSALS.items()])
async def test_a_session_that_is_refused(tmp_path: Path, status: int, kind: str):
    async with FakeManaged() as vendor:
        vendor.fail("POST /v1/sessions$", status, body={"error": {"message": f"no, {KEY}"}})
        end = await ran(await session_of(config_of(tmp_path, vendor)))
        assert end.result.error_category == kind
        assert KEY not in repr(end)
        assert len(vendor.made("POST /v1/sessions$")) == 1


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([("session.status_idle", {"stop_reason": {"type": "end_turn"}})], None),
        ([("session.status_idle", {"stop_reason": {"type": "retries_exhausted"}})], "rate_limit"),
        ([("session.status_idle", {"stop_reason": {"type": "budget_reached"}})], "budget_reached"),
        ([("session.status_idle", {"stop_reason": {"type": "refusal"}})], "refusal"),
        ([("session.status_idle", {"stop_reason": {"type": "tea_break"}})], "unfinished"),
        (
            [("session.status_idle", {"stop_reason": {"type": "requires_action"}})],
            "requires_action",
        ),
        ([("session.status_terminated", {})], "rate_limit"),
        ([("session.deleted", {})], "rate_limit"),
    ],
)
async def test_how_a_session_ends(tmp_path: Path, events: Any, kind: str | None):
    async with FakeManaged(acts=False) as vendor:
        session = await session_of(config_of(tmp_path, vendor))
        async with running(session) as results:
            await until(lambda: vendor.session.queue if vendor.sessions else None)
            vendor.begins(vendor.session)
            error = {"type": "model_rate_limited_error", "message": "slow down"}
            vendor.emit(
                vendor.session,
                "session.error",
                error={**error, "retry_status": {"type": "exhausted"}},
            )
            vendor.emit(vendor.session, "agent.levitates", height=3)
            if kind is None:
                vendor.says(vendor.session, "It went on.")
            for event, fields in events:
                vendor.session.status = "idle"
                vendor.emit(vendor.session, event, **fields)
        result = results[0].result
        assert (result.is_error, result.error_category) == (kind is not None, kind)
        assert any(event.category == "rate_limit" for event in results[0].of("error"))


async def test_a_message_goes_to_the_running_session(tmp_path: Path):
    async with FakeManaged(acts=False) as vendor:
        session = await session_of(config_of(tmp_path, vendor))
        async with running(session) as results:
            await until(lambda: vendor.session.queue if vendor.sessions else None)
            vendor.begins(vendor.session)
            await until_written(session, "status_running")
            delivery = await session.deliver_steering("steer", "In blue.")
            assert (delivery.delivered, delivery.mode) == (True, "steer")
            vendor.says(vendor.session, "First.")
            vendor.rests(vendor.session)  # the message is still in the queue
            await until_written(session, "status_idle")
            vendor.begins(vendor.session)
            vendor.says(vendor.session, "Blue.")
            vendor.rests(vendor.session)
        assert results[0].result.output == "Blue."
        assert (await session.deliver_steering("queue", "Red.")).delivered is False


async def test_a_session_is_continued(tmp_path: Path):
    async with FakeManaged() as vendor:
        first = await ran(await session_of(config_of(tmp_path, vendor, "answer: One.")))
        session_id = first.result.session_id or ""
        config = config_of(
            tmp_path, vendor, "answer: Two.", resume_session_id=session_id, fresh_prompt="answer: X"
        )
        assert await ManagedAdapter().can_resume(session_id, config)
        vendor.session.active_s = 72.0
        second = await ran(await session_of(config))
        assert (second.result.output, second.result.session_id) == ("Two.", session_id)
        assert [m.content for m in second.of("message")] == ["Two."]
        assert second.result.cost is not None
        assert second.result.cost.input_tokens == 1000  # of this work only
        vendor.session.archived_at = "2026-01-02T00:00:00Z"
        assert not await ManagedAdapter().can_resume(session_id, config)
        third = await ran(await session_of(config))
        assert (third.result.output, len(vendor.sessions)) == ("X", 2)


async def test_what_it_refuses_to_start_with(tmp_path: Path):
    async with FakeManaged() as vendor:
        good, guest = dict(vendor.env), session_config(tmp_path).guest
        await ManagedAdapter().check(good, guest)
        for name in ("ANTHROPIC_API_KEY", "MANAGED_AGENT_ID", "MANAGED_ENVIRONMENT_ID"):
            with pytest.raises(CredentialsMissing, match=name):
                await ManagedAdapter().check({**good, name: ""}, guest)
        rows = {"managed_agent_id": "agent_1", "managed_environment_id": "env_1"}
        bare = {name: value for name, value in good.items() if not name.startswith("MANAGED")}
        await ManagedAdapter().check({**bare, **rows}, guest)


async def orphan(config: ProviderSessionConfig) -> tuple[ManagedTranslator, list[Any]]:
    """Do what the next process does with the journal of a killed one."""
    adapter, events = ManagedAdapter(), []
    translator = await adapter.translator(config)
    assert isinstance(translator, ManagedTranslator)
    await replay(
        config.log_file, translator, lambda _: None, redactor=config.redactor, reported_offset=0,
        unreported=lambda _: None,
    )  # fmt: skip

    def take(lines: Any) -> None:
        for line in lines:
            events.extend(translator.feed(json.loads(line)))

    await adapter.end_remote(config, translator, take)
    return translator, events


@pytest.mark.parametrize("has_ended", [False, True])
async def test_the_session_of_a_killed_worker(tmp_path: Path, has_ended: bool):
    async with FakeManaged(acts=False) as vendor:
        config = config_of(tmp_path, vendor)
        session = await session_of(config)
        made = await session.api.create({"agent": AGENT, "environment_id": "e", "metadata": {}})
        line = {"type": "system", "subtype": "init", "session_id": made["id"], "model": MODEL}
        await session.api.send(made["id"], {"type": "user.message", "content": [{"text": "x"}]})
        await session.api.__aexit__()
        vendor.begins(vendor.session)
        seen = vendor.session.events[-1]
        config.log_file.write_text("".join(json.dumps(one) + "\n" for one in (line, seen)))
        vendor.uses(vendor.session)
        vendor.says(vendor.session, "Meanwhile.")
        if has_ended:
            vendor.rests(vendor.session)
        translator, events = await orphan(config)
        assert [event.content for event in events if event.type == "message"] == ["Meanwhile."]
        result = translator.conclude(Ending(exit_code=137, aborted="killed"))
        assert result.is_error is not has_ended
        assert result.cost is not None
        assert result.cost.input_tokens == 1000
        assert vendor.session.status == "idle"
        assert len(vendor.made(SEND)) == (1 if has_ended else 2)  # the interrupt


async def test_a_session_whose_id_was_never_known_is_found_and_ended(tmp_path: Path):
    async with FakeManaged() as vendor:
        config = config_of(tmp_path, vendor)
        session = await session_of(config)
        mark = {"swarmSessionId": config.session_uuid}
        made = await session.api.create({"agent": AGENT, "environment_id": "e", "metadata": mark})
        content = [{"type": "text", "text": "work: 100"}]
        await session.api.send(made["id"], {"type": "user.message", "content": content})
        await session.api.__aexit__()
        config.log_file.write_text('{"type": "system", "subtype": "create"}\n')
        vendor.fail("GET .*/sessions$", body={"data": []})  # the first key is another user's
        await orphan(replace(config, env={**config.env, "ANTHROPIC_API_KEY": f"{KEY}, {KEY}"}))
        assert vendor.session.status == "idle"
        vendor.fail(".", 503, times=10_000)
        with pytest.raises(ProviderError, match="may go on at the vendor"):
            await orphan_soon(config)


async def orphan_soon(config: ProviderSessionConfig) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent_swarm_worker.providers.kit.vendor_session.END_S", 0.3)
        await orphan(config)
