"""A gateway or firewall before the API refuses what the worker sends, in words of its own."""

# ruff: noqa: RUF001 - characters that look like others are what is tested
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import Rig, running_worker

pytestmark = pytest.mark.anyio

HTML = "<html><head><title>Forbidden</title></head><body>Request blocked.</body></html>"
ATTACK = rb"(?i)(<script|union.{0,20}select|etc/passwd)"
MARKUP = rb"<script|etc/passwd"
UPLOADS = "^POST /api/(session-logs|events|tasks/.*/(finish|progress))"
POISON = "<script>alert(1)</script> ' UNION SELECT x FROM y -- cat /etc/passwd"
TOOL = {"type": "tool_use", "id": "c-1", "name": "Bash", "input": {"command": POISON}}
DONE = {"type": "tool_result", "tool_use_id": "c-1", "content": POISON}
BEGIN = {"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"}


def said(*content: dict[str, Any], role: str = "assistant") -> dict[str, Any]:
    return {"type": role, "message": {"content": list(content)}}


def result(text: str, *, is_error: bool = False) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 7}
    about = {"is_error": is_error, "result": text, "total_cost_usd": 0.25, "usage": usage}
    return {"type": "result", "subtype": "success", **about}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


async def ran(rig: Rig, *events: dict[str, Any], code: int = 0) -> dict[str, Any]:
    async with running_worker(rig, rig.prints([BEGIN, *events], code=code)):
        task_id = await rig.submit("Do it")
        row: dict[str, Any] = await rig.until_ended(task_id)
        await rig.settled(task_id)
    return row


def limited(proxy: RecordingProxy, max_bytes: int) -> None:
    too_long = b".{%d}" % min(max_bytes, 60_000) * (1 + max_bytes // 60_000)
    proxy.refuse("", 413, HTML, kind="text/html", content=too_long)


@pytest.mark.parametrize(
    "max_bytes", [1 << 20, pytest.param(30_000, marks=pytest.mark.long), 3_000]
)
async def test_a_result_larger_than_a_gateway_lets_pass(tmp_path: Path, max_bytes: int) -> None:
    output = "begin " + "ü\n" * 1_000_000 + " end"
    async with proxy_rig(tmp_path) as (rig, proxy):
        limited(proxy, max_bytes)
        row = await ran(rig, said(text("hi " * 700_000)), said(text("short")), result(output))
        told = await rig.said(row["id"]) if max_bytes == 1 << 20 else ["short"]
        kinds = [line["type"] for line in await rig.lines(row["id"])]
        (cost,) = await rig.costs(row["id"])
    assert row["status"] == "completed"
    assert row["output"].startswith("begin ü\nü")
    assert row["output"].endswith(" end")
    assert "The whole text: " in row["output"]
    assert ".jsonl on the worker's disk" in row["output"]
    assert told == ["short"]
    assert kinds.count("cut_line") == 2
    assert cost["totalCostUsd"] == 0.25


@pytest.mark.long
@pytest.mark.parametrize(
    ("attack", "output", "status"),
    [
        *((MARKUP, "Done: 3 files. ‹script›", status) for status in (400, 403, 405)),
        *((ATTACK, "Do_ne_ 3 fi_le_s_ _sc_ri_pt", status) for status in (406, 418, 451)),
    ],
)
async def test_what_a_firewall_takes_for_an_attack(
    tmp_path: Path, attack: bytes, output: str, status: int
) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("^(POST|PUT)", status, HTML, kind="text/html", content=attack)
        row = await ran(
            rig,
            said(text("before")),
            said(TOOL),
            said(DONE, role="user"),
            said(text("after")),
            result(f"Done: 3 files. {POISON}"),
        )
        lines, events = await rig.lines(row["id"]), await rig.events(row["id"])
        (cost,) = await rig.costs(row["id"])
    assert row["status"] == "completed"
    assert row["output"].startswith(output)
    assert [line["type"] for line in lines].count("masked_line") == 3
    said_texts = [line["message"]["content"][0]["text"] for line in lines if "message" in line]
    assert said_texts == ["before", "after"]
    assert {event["event"] for event in events} >= {"tool.start", "tool.end"}
    assert cost["totalCostUsd"] == 0.25


async def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 406, HTML, kind="text/html", content=MARKUP)
        row = await ran(rig, result(f"no luck: {POISON}", is_error=True), code=1)
    assert row["status"] == "failed"
    assert "no luck: ‹script›" in row["failureReason"]


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (403, '{"message": "Forbidden"}', "application/json"),
        (403, '{"error": "blocked by rule 949110"}', "application/json"),
        (403, '{"error": "blocked"}', "text/html"),
        (404, '{"message": "no Route matched with those values"}', "application/json"),
        (409, "", "text/plain"),
        (200, "<html>The requested URL was rejected. Your support ID is 1</html>", "text/html"),
        (302, "", "text/html"),
    ],
)
async def test_other_words_of_a_firewall(
    tmp_path: Path, status: int, answer: str, kind: str
) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", status, answer, kind=kind, content=MARKUP)
        row = await ran(rig, result(f"fine {POISON}"))
    assert row["status"] == "completed"
    assert row["output"].startswith("fine ‹script›")


async def test_a_rule_on_words_leaves_a_note(tmp_path: Path) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 403, HTML, kind="text/html", content=b"forbidden|(?i:f_?o_?r_?b)")
        row = await ran(rig, result("a forbidden word"))
    assert row["status"] == "completed"
    assert row["output"].startswith("[… shortened: 0 of 16 characters")


@pytest.mark.long
async def test_a_cost_that_is_always_refused_holds_nothing_up(tmp_path: Path) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/api/session-costs", 403, HTML, kind="text/html")
        env = rig.prints([BEGIN, result("fine")], MAX_CONCURRENT_TASKS="1")
        async with running_worker(rig, env):
            first = await rig.submit("Do it")
            assert (await rig.until_ended(first))["status"] == "completed"
            second = await rig.submit("Do the next")
            assert (await rig.until_ended(second))["status"] == "completed"
            assert await rig.costs(first) == []
            proxy.be_open()
            (cost,) = await rig.until(lambda: rig.costs(first))
    assert cost["totalCostUsd"] == 0.25


@pytest.mark.long
async def test_a_firewall_that_refuses_everything_for_a_while(tmp_path: Path) -> None:
    go = tmp_path / "go"
    agent = (
        f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
    )
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, rig.agent(f"{agent}print('fine <script>')")),
    ):
        task_id = await rig.submit("Do it")
        await rig.until_status(task_id, "in_progress")
        proxy.refuse("", 403, HTML, kind="text/html")
        go.touch()
        await until(lambda: len(proxy.seen("/finish")) >= 3)
        proxy.be_open()
        row = await rig.until_ended(task_id)
    assert (row["status"], row["output"].strip()) == ("completed", "fine <script>")


async def test_the_description_of_a_session_is_refused(tmp_path: Path) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("POST /api/active-sessions$", 403, HTML, kind="text/html", content=ATTACK)
        async with running_worker(rig, rig.prints([BEGIN, result("fine")])):
            task_id = await rig.submit(f"Look at {POISON}")
            await rig.until_ended(task_id)
        seen = proxy.seen("POST /api/active-sessions$")
    assert POISON in json.loads(seen[0].body)["taskDescription"]
    # On a busy machine the first form is sent again before the other one.
    assert {"taskDescription" in json.loads(it.body) for it in seen if it.status == 201} == {False}


@pytest.mark.long
@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (0, "", ""),
        (200, HTML, "text/html"),
        (200, "", ""),
        (302, "", ""),
        (404, "Not Found", "text/plain"),
        (403, '{"error": "blocked by policy"}', "application/json"),
        (409, '{"error": "blocked by policy"}', "application/json"),
    ],
)
async def test_content_that_draws_any_other_answer(
    tmp_path: Path, status: int, answer: str, kind: str
) -> None:
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse(UPLOADS, status, answer, kind=kind, content=MARKUP)
        row = await ran(
            rig,
            said(text("before")),
            said(text(POISON)),
            said(TOOL),
            said(text("after")),
            result(f"Done: 3 files. {POISON}"),
        )
        lines = await rig.lines(row["id"])
        refused = [visit for visit in proxy.seen(UPLOADS) if re.search(MARKUP, visit.body)]
    assert (row["status"], row["output"][:24]) == ("completed", "Done: 3 files. ‹script›a")
    kinds = [line["type"] for line in lines]
    assert kinds.count("masked_line") == 3
    told = [line["message"]["content"][0]["text"] for line in lines if "message" in line]
    assert told == ["before", "after"]
    assert len(refused) < 100


@pytest.mark.long
async def test_a_connection_that_is_closed_over_the_size(tmp_path: Path) -> None:
    """The lines are divided by bytes, and of the longest one both ends arrive."""
    texts = [f"{number} {'x' * 300}" for number in range(60)]
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("", 0, content=b".{8192}")
        row = await ran(
            rig, *(said(text(one)) for one in texts), said(text("y" * 20_000)), result("fine")
        )
        lines = await rig.lines(row["id"])
    told = [line["message"]["content"][0]["text"] for line in lines if "message" in line]
    assert (row["status"], row["output"]) == ("completed", "fine")
    assert told == texts
    assert [line["type"] for line in lines].count("masked_line") == 1


SCHEMA = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}


@pytest.mark.long
@pytest.mark.parametrize("attack", [MARKUP, ATTACK])
async def test_fitting_output_that_looks_like_an_attack_stays_the_same_json(
    tmp_path: Path, attack: bytes
) -> None:
    output = {"said": f"{POISON} \u00fc\U0001f600 \\n", "n": 12345678901234567890}
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("^(POST|PUT)", 403, HTML, kind="text/html", content=attack)
        async with running_worker(rig, rig.prints([BEGIN, result(json.dumps(output))])):
            task_id = await rig.submit("Do it", outputSchema=SCHEMA)
            row = await rig.until_ended(task_id)
    assert row["status"] == "completed"
    assert json.loads(row["output"]) == output


@pytest.mark.long
async def test_fitting_output_is_never_cut(tmp_path: Path) -> None:
    output = json.dumps({"said": "x" * 200_000})
    async with proxy_rig(tmp_path) as (rig, proxy):
        limited(proxy, 50_000)
        async with running_worker(rig, rig.prints([BEGIN, result(output)])):
            task_id = await rig.submit("Do it", outputSchema=SCHEMA)
            row = await rig.until_ended(task_id)
    assert (row["status"], row.get("output")) == ("failed", None)
    why = "The output of 200012 characters fits the task's outputSchema, but cannot be sent whole: "
    assert row["failureReason"].startswith(why)
    assert ".jsonl on the worker's disk" in row["failureReason"]
