"""Sessions of Devin against its API on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from fake_devin import KEY, FakeDevin
from fake_vendor import HTML, Ran, journal_of, ran, running, until_written
from session_config import session_config

from agent_swarm_worker.contract import Ending, ProviderSessionConfig
from agent_swarm_worker.errors import BadSetting, CredentialsMissing, ProviderError
from agent_swarm_worker.journal.records import replay
from agent_swarm_worker.providers.devin.adapter import DevinAdapter
from agent_swarm_worker.providers.devin.session import DevinSession
from agent_swarm_worker.providers.devin.translate import DevinTranslator

pytestmark = pytest.mark.anyio
GET = r"GET .*/sessions/[^/]+$"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for little between two tries."""
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_api.FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_api.MAX_PAUSE_S", 0.02)
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_session.CREATE_S", 0.5)


def config_of(
    place: Path, vendor: FakeDevin, prompt: str = "answer: Hello.", **changed: Any
) -> ProviderSessionConfig:
    env = {**vendor.env, **changed.pop("env", {})}
    return session_config(place, prompt=prompt, env=env, **changed)


async def session_of(config: ProviderSessionConfig) -> DevinSession:
    session = await DevinAdapter().create_session(config)
    assert isinstance(session, DevinSession)
    return session


async def until(look: Callable[[], Any]) -> None:
    with anyio.fail_after(30):
        while not look():
            await anyio.sleep(0.01)


async def test_a_session_from_the_prompt_to_its_cost(tmp_path: Path):
    async with FakeDevin(page=1) as vendor:
        config = config_of(
            tmp_path, vendor, system_prompt="Be kind.", vcs_repo="o/r",
            env={"DEVIN_MAX_ACU_LIMIT": "7", "DEVIN_ACU_COST_USD": "3"},
        )  # fmt: skip
        end = await ran(await session_of(config))
        assert (end.result.is_error, end.result.output) == (False, "Hello.")
        assert end.result.cost is not None
        assert end.result.cost.total_cost_usd == 1.5
        assert end.result.cost.input_tokens is None
        (init,) = end.of("session_init")
        assert init.provider_meta["sessionUrl"].endswith(init.session_id)
        assert init.provider_meta["maxAcuLimit"] == 7
        assert [m.content for m in end.of("message")] == ["answer: Hello.", "Hello."]
        (created,) = vendor.made(r"POST .*/sessions$")
        assert created.body["repos"] == ["o/r"]
        assert created.body["max_acu_limit"] == 7
        assert created.body["playbook_id"] == vendor.playbooks[0]["playbook_id"]
        assert vendor.playbooks[0]["body"] == "Be kind."
        assert created.body["structured_output_schema"]["required"] == ["status"]
        assert vendor.overlaps == []
        assert not vendor.made("DELETE")  # a follow-up may go on with it
        # The same text is the same playbook, for every worker.
        await ran(await session_of(config_of(tmp_path / "", vendor, system_prompt="Be kind.")))
        assert len(vendor.playbooks) == 1


async def test_a_replay_of_the_journal_gives_the_same_result(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = config_of(tmp_path, vendor)
        end = await ran(await session_of(config))
    translator = await DevinAdapter().translator(config)
    events: list[Any] = []
    await replay(
        config.log_file, translator, events.append, redactor=config.redactor,
        reported_offset=0, unreported=events.append,
    )  # fmt: skip
    again = translator.conclude(Ending(exit_code=0))
    assert (again.output, again.cost, again.session_id) == (
        end.result.output, end.result.cost, end.result.session_id,
    )  # fmt: skip


async def test_nothing_secret_is_told_or_written(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = config_of(tmp_path, vendor, f"answer: the key is {KEY}")
        end = await ran(await session_of(config))
        assert KEY not in repr(end.events) + repr(end.result)
        assert KEY not in config.log_file.read_text()


@pytest.mark.parametrize("reason", ["cancelled", "lost", "graceful_shutdown"])
async def test_an_aborted_session_is_ended_at_the_vendor(tmp_path: Path, reason: str):
    async with FakeDevin() as vendor:
        session = await session_of(config_of(tmp_path, vendor, "work: 100", env={
            "DEVIN_POLL_INTERVAL_MS": "600000"}))  # fmt: skip
        async with running(session) as results:
            await vendor.until_made("GET .*/messages")
            await session.abort(reason)
        assert vendor.session.status == "exit"
        assert (results[0].result.error_category, results[0].result.exit_code) == ("aborted", 130)
        assert results[0].result.cost is not None


async def test_an_abort_while_it_is_created_ends_what_is_created(tmp_path: Path):
    async with FakeDevin() as vendor:
        vendor.fail("POST .*/sessions$", hangs=True, acts=True)
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session) as results:
            await until(lambda: vendor.sessions)
            await session.abort()
        assert vendor.session.status == "exit"
        assert results[0].result.error_category == "aborted"


async def test_an_end_that_fails_is_tried_again_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with FakeDevin() as vendor:
        vendor.fail("DELETE", 503, times=2)
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session):
            await vendor.until_made(GET)
            await session.abort()
        assert vendor.session.status == "exit"
    monkeypatch.setattr("agent_swarm_worker.providers.kit.vendor_session.END_S", 0.3)
    async with FakeDevin() as vendor:
        vendor.fail("DELETE", 503, body=HTML, times=10_000)
        session = await session_of(config_of(tmp_path, vendor, "work: 100"))
        async with running(session) as results:
            await vendor.until_made(GET)
            await session.abort()
        assert "may go on at the vendor" in (results[0].result.failure_reason or "")
        assert vendor.session.id in (results[0].result.failure_reason or "")


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"retry-after": "0"}},
        {"status": 500},
        {"status": 503, "body": HTML},
        {"status": 200, "body": HTML},
        {"status": 200, "body": b"[]"},
        {"status": 200, "half": True},
        {"status": 409, "body": {"detail": "busy"}},
        {"hangs": True},
    ],
    ids=str,
)
async def test_a_poll_that_fails_is_repeated(tmp_path: Path, fault: dict[str, Any]):
    async with FakeDevin() as vendor:
        vendor.fail(GET, **fault, times=3)
        config = config_of(tmp_path, vendor, env={"DEVIN_REQUEST_TIMEOUT_S": "0.3"})
        end = await ran(await session_of(config))
        assert end.result.output == "Hello."
        assert any("trying again" in event.message for event in end.of("progress"))
        assert [m.content for m in end.of("message")] == ["answer: Hello.", "Hello."]


async def test_a_retry_waits_as_long_as_it_is_asked_to(tmp_path: Path):
    async with FakeDevin() as vendor:
        vendor.fail(GET, 429, headers={"retry-after": "1"})
        end = await ran(await session_of(config_of(tmp_path, vendor)))
        (waits,) = (p.message for p in end.of("progress") if "trying again" in p.message)
        assert "in 1 s" in waits


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
async def test_polls_that_keep_failing_end_the_session(tmp_path: Path, status: int, kind: str):
    async with FakeDevin() as vendor:
        vendor.fail(GET, status, body={"detail": "no"}, times=1000)
        end = await ran(await session_of(config_of(tmp_path, vendor, "work: 100")))
        assert (end.result.is_error, end.result.error_category) == (True, kind)
        assert str(status) in (end.result.failure_reason or "")
        assert vendor.session.status == "exit"
        is_transient = status in (500, 429, 409)
        assert len(vendor.made(GET)) == (10 if is_transient else 1)


@pytest.mark.parametrize(("status", "kind"), [*REFUSALS.items()])
async def test_a_session_that_is_refused(tmp_path: Path, status: int, kind: str):
    async with FakeDevin() as vendor:
        vendor.fail("POST .*/sessions$", status, body={"detail": f"no, {KEY}"})
        end = await ran(await session_of(config_of(tmp_path, vendor)))
        assert end.result.error_category == kind
        assert KEY not in repr(end)
        assert vendor.sessions == {}
        assert len(vendor.made("POST .*/sessions$")) == 1


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"hangs": True}, {"half": True}, {"body": HTML}]
)
async def test_a_session_is_created_once(tmp_path: Path, fault: dict[str, Any]):
    async with FakeDevin() as vendor:
        vendor.fail("POST .*/sessions$", acts=True, **fault)
        config = config_of(tmp_path, vendor, env={"DEVIN_REQUEST_TIMEOUT_S": "0.5"})
        end = await ran(await session_of(config))
        assert end.result.output == "Hello."
        assert len(vendor.sessions) == 1
        # One that was not carried out is repeated.
        vendor.fail("POST .*/sessions$", **fault)
        again = config_of(tmp_path, vendor, env={"DEVIN_REQUEST_TIMEOUT_S": "0.5"})
        assert (await ran(await session_of(again))).result.output == "Hello."
        assert len(vendor.sessions) == 2


async def finished(tmp_path: Path, status: str, detail: str | None = None, **more: Any) -> Ran:
    async with FakeDevin(acts=False) as vendor:
        session = await session_of(config_of(tmp_path, vendor, **more.pop("config", {})))
        async with running(session) as results:
            await vendor.until_made(GET)
            vendor.moves(vendor.session, "running", "working", acus=1.0)
            if said := more.pop("said", ""):
                vendor.says(vendor.session, said)
            vendor.moves(vendor.session, status, detail, **more)
        return results[0]


@pytest.mark.parametrize(
    ("status", "detail", "output", "outcome"),
    [
        ("running", "finished", None, "the message"),
        ("running", "working", {"status": "done", "summary": "S", "output": "O"}, "S\n\nO"),
        ("exit", None, {"status": "done", "odd": 1}, "the message"),
        ("exit", None, None, "the message"),
        ("exit", None, {"status": "working"}, "unfinished"),
        ("exit", None, {"status": "error", "summary": "broke"}, "devin_error"),
        ("running", "working", {"status": "error", "output": "broke"}, "devin_error"),
        ("error", None, None, "devin_error"),
        ("suspended", "inactivity", None, "suspended_inactivity"),
        ("suspended", "user_request", None, "suspended_user"),
        ("suspended", "out_of_credits", None, "billing_error"),
        ("suspended", "something_new", None, "suspended"),
    ],
)
async def test_how_a_session_ends(
    tmp_path: Path, status: str, detail: str | None, output: Any, outcome: str
):
    end = await finished(tmp_path, status, detail, output=output, said="the message")
    assert outcome in (end.result.error_category, end.result.output)
    assert end.result.is_error is (outcome == end.result.error_category)
    assert end.result.cost is not None
    assert end.result.cost.total_cost_usd == 2.25


async def test_unknown_states_and_units_are_unknown(tmp_path: Path):
    async with FakeDevin(acts=False) as vendor:
        session = await session_of(config_of(tmp_path, vendor))
        async with running(session) as results:
            await vendor.until_made(GET)
            vendor.moves(vendor.session, "hibernating", "dreaming", acus=None)
            await until_written(session, "dreaming")
            vendor.moves(vendor.session, "running", "finished", acus="many")
        assert results[0].result.is_error is False
        assert results[0].result.cost is not None
        assert results[0].result.cost.total_cost_usd is None
        assert any("hibernating" in event.message for event in results[0].of("progress"))


async def test_a_session_that_waits_for_a_person_fails_in_the_end(tmp_path: Path):
    config = {"env": {"DEVIN_ANSWER_WAIT_S": "0.1"}}
    end = await finished(tmp_path, "running", "waiting_for_user", said="Which one?", config=config)
    assert end.result.error_category == "needs_input"
    assert "Which one?" in (end.result.failure_reason or "")


async def test_a_message_goes_to_the_running_session(tmp_path: Path):
    async with FakeDevin(acts=False) as vendor:
        session = await session_of(config_of(tmp_path, vendor))
        async with running(session) as results:
            await vendor.until_made(GET)
            vendor.moves(vendor.session, "running", "finished")
            vendor.moves(vendor.session, "running", "working")
            delivery = await session.deliver_steering("queue", "In blue.")
            assert (delivery.delivered, delivery.mode) == (True, "queue")
            vendor.moves(vendor.session, "running", "finished")  # it has not read it yet
            await vendor.until_made(GET, len(vendor.made(GET)) + 3)
            vendor.moves(vendor.session, "running", "working")
            await vendor.until_made(GET, len(vendor.made(GET)) + 3)
            vendor.says(vendor.session, "Blue.")
            vendor.moves(vendor.session, "running", "finished")
        assert results[0].result.output == "Blue."
        assert (await session.deliver_steering("queue", "Red.")).delivered is False


async def test_a_finished_session_goes_on_with_a_message(tmp_path: Path):
    async with FakeDevin() as vendor:
        first = await ran(await session_of(config_of(tmp_path, vendor, "answer: One.")))
        session_id = first.result.session_id or ""
        config = config_of(
            tmp_path, vendor, "answer: Two.", resume_session_id=session_id, fresh_prompt="answer: X"
        )
        assert await DevinAdapter().can_resume(session_id, config)
        second = await ran(await session_of(config))
        assert second.result.output == "Two."
        assert second.result.session_id == session_id
        assert [m.content for m in second.of("message")] == ["answer: Two.", "Two."]
        assert second.result.cost is not None
        assert second.result.cost.total_cost_usd == 0.5 * 2.25  # of this work only
        vendor.moves(vendor.session, "exit")
        assert not await DevinAdapter().can_resume(session_id, config)
        third = await ran(await session_of(config))
        assert (third.result.output, len(vendor.sessions)) == ("X", 2)


SEND = "POST .*/messages"


async def resumed(tmp_path: Path, vendor: FakeDevin) -> ProviderSessionConfig:
    """Return the configuration of a session that continues a finished one with a long work."""
    first = await ran(await session_of(config_of(tmp_path, vendor, "answer: One.")))
    session_id = first.result.session_id
    return config_of(tmp_path, vendor, "work: 100", resume_session_id=session_id)


async def test_a_message_without_an_answer_leaves_nothing_running(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = await resumed(tmp_path, vendor)
        vendor.fail(SEND, 502, acts=True)
        end = await ran(await session_of(config))
        assert end.result.is_error
        assert vendor.said[-1] == "work: 100"
        assert vendor.session.status == "exit"


async def test_an_abort_while_the_message_is_sent_leaves_nothing_running(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = await resumed(tmp_path, vendor)
        vendor.fail(SEND, acts=True, hangs=True)
        session = await session_of(config)
        async with anyio.create_task_group() as group:
            group.start_soon(session.wait_for_completion)
            await vendor.until_made(SEND)
            known = [line.get("session_id") for line in journal_of(config)]
            await session.abort()
        assert config.resume_session_id in known, "a killed worker's successor finds it"
        assert vendor.session.status == "exit"


async def test_a_message_that_is_refused_leads_to_a_new_session(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = await resumed(tmp_path, vendor)
        vendor.fail(SEND, 400, body={"detail": "it takes none"})
        vendor.fail("POST .*/sessions$", acts=True, hangs=True)
        session = await session_of(config)
        async with anyio.create_task_group() as group:
            group.start_soon(session.wait_for_completion)
            await vendor.until_made("POST .*/sessions$", 2)
            await session.abort()
        old, new = vendor.sessions.values()
        assert (old.status, new.status) == ("running", "exit"), "only what may work is ended"


async def test_a_new_session_after_a_refusal_answers(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = await resumed(tmp_path, vendor)
        vendor.fail(SEND, 400, body={"detail": "it takes none"})
        end = await ran(await session_of(replace(config, fresh_prompt="answer: One.")))
        assert (end.result.output, end.result.is_error) == ("One.", False)
        assert end.result.cost is not None
        assert end.result.cost.total_cost_usd == 0.5 * 2.25


async def test_without_playbooks_the_prompt_has_the_text(tmp_path: Path):
    async with FakeDevin() as vendor:
        vendor.fail("GET .*/playbooks", 403, body={"detail": "no permission"})
        end = await ran(await session_of(config_of(tmp_path, vendor, system_prompt="Be kind.")))
        assert end.result.output == "Hello."
        assert vendor.said[0].startswith("Be kind.")


async def test_what_it_refuses_to_start_with(tmp_path: Path):
    async with FakeDevin() as vendor:
        good = dict(vendor.env)
        guest = session_config(tmp_path).guest
        await DevinAdapter().check(good, guest)
        for name, value in {"HAS_MCP": "true", "AGENT_ROLE": "lead"}.items():
            with pytest.raises(BadSetting, match=name):
                await DevinAdapter().check({**good, name: value}, guest)
        for name in ("DEVIN_API_KEY", "DEVIN_ORG_ID"):
            with pytest.raises(CredentialsMissing, match=name):
                await DevinAdapter().check({**good, name: ""}, guest)
        with pytest.raises(BadSetting):
            await DevinAdapter().create_session(config_of(tmp_path, vendor, role="lead"))


async def orphan(config: ProviderSessionConfig) -> tuple[DevinTranslator, list[Any]]:
    """Do what the next process does with the journal of a killed one."""
    adapter, events = DevinAdapter(), []
    translator = await adapter.translator(config)
    assert isinstance(translator, DevinTranslator)
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
    async with FakeDevin(acts=False) as vendor:
        config = config_of(tmp_path, vendor)
        session = await session_of(config)
        async with anyio.create_task_group() as group:
            group.start_soon(ran, session)
            await until(
                lambda: config.log_file.exists() and "status" in config.log_file.read_text()
            )
            vendor.fail("DELETE", 503, times=10_000)  # as good as killed
            group.cancel_scope.cancel()
            group.cancel_scope.shield = False
            vendor.faults.clear()
        lines = [line for line in journal_of(config) if line["type"] != "result"]
        config.log_file.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
        vendor.session.status = "running"
        vendor.says(vendor.session, "Meanwhile.")
        if has_ended:
            vendor.moves(vendor.session, "running", "finished", acus=4.0)
        else:
            vendor.moves(vendor.session, "running", "working", acus=4.0)
        translator, events = await orphan(config)
        assert [event.content for event in events if event.type == "message"][-1] == "Meanwhile."
        result = translator.conclude(Ending(exit_code=137, aborted="killed"))
        assert result.is_error is not has_ended
        assert result.cost is not None
        assert result.cost.total_cost_usd == 9.0
        assert vendor.session.status == ("running" if has_ended else "exit")


async def test_a_session_whose_id_was_never_known_is_found_and_ended(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = config_of(tmp_path, vendor, "work: 100")
        session = await session_of(config)
        tag = f"swarm-session-{config.session_uuid}"
        await session.api.create({"prompt": "work: 100", "tags": [tag]})
        config.log_file.write_text('{"type": "system", "subtype": "create"}\n')
        await orphan(config)
        assert vendor.session.status == "exit"
        await session.api.__aexit__()


async def test_each_key_is_asked_for_a_session_whose_id_was_never_known(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = config_of(tmp_path, vendor, "work: 100")
        session = await session_of(config)
        tag = f"swarm-session-{config.session_uuid}"
        await session.api.create({"prompt": "work: 100", "tags": [tag]})
        config.log_file.write_text('{"type": "system", "subtype": "create"}\n')
        vendor.fail("GET .*/sessions$", body={"items": []})  # the first key is another user's
        pool = {"DEVIN_API_KEY": f"{KEY}, {KEY}"}
        same = {"log_file": config.log_file, "session_uuid": config.session_uuid}
        await orphan(config_of(tmp_path, vendor, env=pool, **same))
        assert vendor.session.status == "exit"
        config.log_file.write_text('{"type": "system", "subtype": "create"}\n')
        await orphan(config_of(tmp_path, vendor, **{**same, "session_uuid": "unknown"}))
        await session.api.__aexit__()


async def test_each_key_of_a_pool_is_tried_to_end_it(tmp_path: Path):
    async with FakeDevin() as vendor:
        config = config_of(tmp_path, vendor, "work: 100")
        session = await session_of(config)
        made = await session.api.create({"prompt": "work: 100", "tags": []})
        line = {"type": "system", "subtype": "init", "session_id": made["session_id"]}
        config.log_file.write_text(json.dumps(line) + "\n")
        pool = {"DEVIN_API_KEY": f"cog_other0123456789, {KEY}"}
        await orphan(config_of(tmp_path, vendor, env=pool, log_file=config.log_file))
        assert vendor.session.status == "exit"
        with pytest.raises(ProviderError, match="may go on at the vendor"):
            await orphan(
                config_of(
                    tmp_path,
                    vendor,
                    env={"DEVIN_API_KEY": "cog_bad012345"},
                    log_file=config.log_file,
                )
            )
        await session.api.__aexit__()
