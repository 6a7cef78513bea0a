from __future__ import annotations

import json
import sys
import tracemalloc

import anyio
import pytest
from reporting_doubles import WordRedactor

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    CostData,
    Custom,
    Error,
    Message,
    Progress,
    ProviderResult,
    RawLog,
    RawStderr,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.journal.writer import Journal

GOOD = ProviderResult(exit_code=0, is_error=False)
BAD = ProviderResult(exit_code=0, is_error=True)
COST = CostData(
    session_id="native-1",
    task_id="not this",
    agent_id="nor this",
    total_cost_usd=0.5,
    input_tokens=100,
    output_tokens=20,
    duration_ms=4000,
    model="claude-opus-5",
    provider="claude",
)


def say(journal, reporter, line):
    """What the session base does: first the journal, then the listener."""
    reporter.wrote(journal.append([line.encode()]))
    reporter.on_event(RawLog(line))


async def running(reporter, test):
    """Run the reporter's timer while `test` runs."""
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.run)
        await anyio.wait_all_tasks_blocked()
        await test()
        group.cancel_scope.cancel()


# --- the whole way


def test_one_session_from_start_to_end(reporter, writes, journal, clock):
    reporter.on_event(
        SessionInit("native-1", provider_meta={"url": "u"}, harness_variant="cli", model="opus-5")
    )
    say(journal, reporter, '{"type":"assistant"}')
    reporter.on_event(ToolStart("c1", "Bash", {"description": "Run the tests"}))
    clock.skip(2)
    reporter.on_event(ToolEnd("c1", "Bash", "ok"))
    reporter.on_event(ContextUsage(100, 1000, 10.0, output_tokens=5))
    reporter.on_event(Message("assistant", "All done."))
    reporter.on_event(Result(COST))
    reporter.close(ProviderResult(exit_code=0, is_error=False, applied_reasoning_effort="high"))

    assert writes.kinds() == [
        "session",
        "progress",
        "context",
        "logs",
        "events",
        "cost",
        "context",
        "latest_model",
    ]
    assert writes.of("session") == [
        {
            "task_id": "task-1",
            "session": {
                "claudeSessionId": "native-1",
                "provider": "claude",
                "providerMeta": {"url": "u"},
                "model": "opus-5",
                "harnessVariant": "cli",
            },
        }
    ]
    assert writes.of("progress") == [{"task_id": "task-1", "text": "⚡ Run the tests"}]
    assert [event["event"] for event in writes.events()] == [
        "session.start",
        "tool.start",
        "tool.end",
        "session.end",
    ]
    assert writes.of("logs") == [
        {
            "task_id": "task-1",
            "session_uuid": "run-1",
            "iteration": 7,
            "cli": "claude",
            "path": str(journal.path),
            "start": journal.start,
            "end": journal.path.stat().st_size,
        }
    ]
    [cost] = writes.of("cost")
    assert cost == {
        "sessionId": "run-1",
        "agentId": "agent-1",
        "taskId": "task-1",
        "totalCostUsd": 0.5,
        "inputTokens": 100,
        "outputTokens": 20,
        "durationMs": 4000,
        "model": "claude-opus-5",
        "isError": False,
        "provider": "claude",
        "createdAt": 1795176002000,
    }
    assert writes.of("context")[-1]["snapshot"]["eventType"] == "completion"
    assert writes.of("latest_model") == [
        {
            "agent_id": "agent-1",
            "latest_model": {
                "model": "claude-opus-5",
                "source": "task",
                "taskId": "task-1",
                "harnessProvider": "claude",
                "reportedAt": 1795176002000,
                "reasoningEffort": "high",
            },
        }
    ]
    assert reporter.last_text == "All done."


def test_all_writes_of_a_task_share_a_lane_so_that_its_finish_comes_last(reporter, writes, journal):
    reporter.on_event(SessionInit("native-1"))
    say(journal, reporter, "{}")
    reporter.on_event(Result(COST))
    reporter.close(GOOD)
    lanes = {str(kind): lane for lane, kind, _ in writes.puts}
    assert {lanes[kind] for kind in ("session", "cost", "logs", "events")} == {"task-1"}
    assert lanes["latest_model"] == "worker"


# --- session


def test_events_emitted_before_the_timer_runs_are_handled(make_reporter, writes):
    reporter = make_reporter()
    reporter.on_event(SessionInit("native-1"))
    assert writes.kinds() == ["session"]


def test_a_session_introduced_again_and_again_is_written_once(reporter, writes):
    for _ in range(3):
        reporter.on_event(SessionInit("native-1"))
    reporter.on_event(SessionInit("native-1", model="opus-5"))
    reporter.on_event(SessionInit("native-2", model="opus-5"))
    reporter.close(GOOD)
    assert [
        (args["session"]["claudeSessionId"], args["session"]["model"])
        for args in writes.of("session")
    ] == [
        ("native-1", "opus"),
        ("native-1", "opus-5"),
        ("native-2", "opus-5"),
    ]
    assert [event["sessionId"] for event in writes.events("session.start")] == [
        "native-1",
        "native-2",
    ]


def test_a_session_without_an_id_is_not_written(reporter, writes):
    reporter.on_event(SessionInit(""))
    assert writes.puts == []


def test_meta_that_is_no_json_does_not_stop_the_session_write(reporter, writes):
    circular = {}
    circular["self"] = circular
    reporter.on_event(
        SessionInit(
            "native-1",
            provider_meta={"path": object, 5: WordRedactor.SECRET},
            harness_variant_meta=circular,
        )
    )
    [session] = writes.of("session")
    assert session["session"]["providerMeta"]["5"] == "[REDACTED]"
    assert "harnessVariantMeta" not in session["session"]


def test_what_the_worker_adds_is_kept_with_the_session(make_reporter, writes):
    reporter = make_reporter(session_meta={"harness": "mystery"})
    reporter.on_event(SessionInit("native-1", harness_variant_meta={"version": "2"}))
    [session] = writes.of("session")
    assert session["session"]["harnessVariantMeta"] == {"version": "2", "harness": "mystery"}


# --- progress


def test_progress_and_tools_share_one_throttle(reporter, writes, clock):
    reporter.on_event(ToolStart("c1", "Read", {"file_path": "a"}))
    reporter.on_event(Progress("Thinking"))
    assert [args["text"] for args in writes.of("progress")] == ["📖 Reading a"]
    clock.skip(3)
    reporter.on_event(Progress(" Still\nthinking "))
    assert [args["text"] for args in writes.of("progress")][1:] == ["Still thinking"]


@pytest.mark.anyio
async def test_the_latest_withheld_label_is_sent_when_the_interval_ends(reporter, writes, clock):
    async def test():
        for name in "abc":
            reporter.on_event(ToolStart(name, "Read", {"file_path": name}))
        await clock.pass_time(2)
        assert len(writes.of("progress")) == 1
        await clock.pass_time(2)

    await running(reporter, test)
    assert [args["text"] for args in writes.of("progress")] == ["📖 Reading a", "📖 Reading c"]


@pytest.mark.anyio
async def test_nothing_withheld_is_sent_after_the_end(reporter, writes, clock):
    async def test():
        reporter.on_event(Progress("first"))
        reporter.on_event(Progress("withheld"))
        reporter.close(GOOD)
        await clock.pass_time(5)

    await running(reporter, test)
    assert [args["text"] for args in writes.of("progress")] == ["first"]


@pytest.mark.anyio
async def test_progress_that_was_stopped_stays_stopped(reporter, writes, clock):
    async def test():
        reporter.on_event(Progress("first"))
        reporter.on_event(Progress("withheld"))
        reporter.stop_progress()
        reporter.on_event(Progress("late"))
        await clock.pass_time(10)

    await running(reporter, test)
    assert [args["text"] for args in writes.of("progress")] == ["first"]


def test_silent_tools_and_blank_words_are_no_progress(reporter, writes):
    reporter.on_event(ToolStart("c1", "TodoWrite", {}))
    reporter.on_event(Progress(" \n\x00"))
    assert writes.of("progress") == []


def test_progress_is_scrubbed_and_bounded(reporter, writes):
    reporter.on_event(Progress(f"using {WordRedactor.SECRET} " + "x" * 1_000_000))
    [said] = writes.of("progress")
    assert said["text"].startswith("using [REDACTED] xxx")
    assert len(said["text"]) <= 300


# --- triggers that are not a task of ours


def test_a_trigger_without_a_task_says_nothing_about_a_task(make_reporter, writes, journal):
    reporter = make_reporter(task_id=None, effective_id="made-up")
    reporter.on_event(SessionInit("native-1"))
    reporter.on_event(SessionInit("native-1", model="other"))
    reporter.on_event(ToolStart("c1", "Read", {}))
    reporter.on_event(Progress("p"))
    reporter.on_event(ContextUsage(1, 2, 3.0))
    reporter.on_event(Compaction(5))
    say(journal, reporter, "{}")
    reporter.on_event(Result(COST))
    reporter.close(GOOD)
    assert set(writes.kinds()) == {"provider_session", "events", "logs", "cost", "latest_model"}
    assert writes.of("provider_session") == [
        {"task_id": "made-up", "provider_session_id": "native-1"}
    ]
    assert writes.of("logs")[0]["task_id"] is None
    assert "taskId" not in writes.of("cost")[0]
    assert all("taskId" not in event for event in writes.events())


def test_an_offered_task_is_only_observed(make_reporter, writes, journal):
    reporter = make_reporter(observe_only=True)
    reporter.on_event(SessionInit("native-1"))
    reporter.on_event(ToolStart("c1", "Read", {}))
    reporter.on_event(Progress("p"))
    say(journal, reporter, "{}")
    reporter.close(GOOD)
    assert "progress" not in writes.kinds()
    assert {"session", "events", "logs"} <= set(writes.kinds())


# --- logs


@pytest.mark.anyio
async def test_a_quiet_sessions_lines_are_shipped_by_the_timer(reporter, writes, journal, clock):
    async def test():
        say(journal, reporter, '"only line"')
        assert writes.of("logs") == []
        await clock.pass_time(1.5)
        assert writes.shipped() == ['"only line"']
        say(journal, reporter, '"second"')
        await clock.pass_time(1.5)

    await running(reporter, test)
    assert writes.shipped() == ['"only line"', '"second"']
    # What came before it, in bytes, keeps each batch in order on the server.
    assert [args["iteration"] for args in writes.of("logs")] == [7, 7 + len('"only line"\n')]


def test_a_flood_is_shipped_without_the_timer(reporter, writes, journal):
    for _ in range(520):
        say(journal, reporter, "x" * 1023)
    assert len(writes.shipped()) >= 512


def test_standard_error_is_uploaded_too(reporter, writes, journal):
    journal.append([b'{"type":"stderr","content":"oops"}'])
    reporter.on_event(RawStderr("oops"))
    reporter.close(GOOD)
    assert writes.shipped() == ['{"type":"stderr","content":"oops"}']


def test_a_session_may_go_on_in_a_second_journal(reporter, writes, journal):
    say(journal, reporter, '"first"')
    second = journal.path.with_name("second.jsonl")
    start = Journal.begin(second, {"type": "fresh_session"})
    reporter.switched(second, start)
    follower = Journal(second)
    say(follower, reporter, '"second"')
    follower.close()
    reporter.close(GOOD)
    assert writes.shipped() == ['"first"', '"second"']


def test_lines_the_disk_did_not_take_are_told_in_their_place(
    reporter, writes, journal, monkeypatch
):
    monkeypatch.setattr("agent_swarm_worker.reporting.reporter.MAX_UNWRITTEN_BYTES", 10)
    say(journal, reporter, '"first"')
    held = b'"a"\n"bb"\n"longer than a part"\n"c"\n'
    reporter.unwritten(held)
    say(journal, reporter, '"last"')
    reporter.close(GOOD)
    said = ['"first"', '"a"', '"bb"', '"longer than a part"', '"c"', '"last"']
    assert writes.shipped() == said
    parts = writes.of("logs")
    assert [part.get("text") for part in parts][1:4] == [
        '"a"\n"bb"\n',
        '"longer than a part"\n',
        '"c"\n',
    ]
    sizes = [len("".join(f"{line}\n" for line in said[:n])) for n in (0, 1, 3, 4, 5)]
    assert [part["iteration"] - 7 for part in parts] == sizes, "each says what came before it"


def test_a_harness_cannot_have_another_file_uploaded_as_its_log(reporter, writes, journal):
    data = {"path": "/etc/passwd", "metadata_bytes": 0, "lines": b"x\n"}
    for name in ("session.journal", "session.unwritten"):
        reporter.on_event(Custom(name, data))
    say(journal, reporter, '"mine"')
    reporter.close(GOOD)
    assert writes.shipped() == ['"mine"']


def test_after_the_end_nothing_is_shipped(reporter, writes, journal):
    reporter.close(GOOD)
    before = len(writes.puts)
    say(journal, reporter, '"late"')
    reporter.unwritten(b"late\n")
    reporter.switched(journal.path, 0)
    assert len(writes.puts) == before


def test_other_custom_events_are_ignored(reporter, writes):
    reporter.on_event(Custom("codex.todo_list", {"path": "/etc/passwd"}))
    reporter.on_event(Error("something"))
    assert writes.puts == []


@pytest.mark.anyio
@pytest.mark.parametrize(("sessions", "flushes"), [(1, 4), (5, 4), (15, 1), (500, 0)])
async def test_many_sessions_share_a_rate_of_log_requests(
    make_reporter, writes, clock, journal, sessions, flushes
):
    reporter = make_reporter(sessions=lambda: sessions, events_flush_s=60)

    async def test():
        for _ in range(4):
            journal.append([b"{}"])
            await clock.pass_time(1)

    await running(reporter, test)
    assert len(writes.of("logs")) == flushes
    reporter.close(GOOD)
    assert writes.shipped() == ["{}"] * 4


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sessions", "progress_s", "events_s"), [(1, 3, 5), (15, 3, 6), (50, 10, 20), (9000, 30, 30)]
)
async def test_many_sessions_share_a_rate_of_progress_and_events(
    make_reporter, writes, clock, sessions, progress_s, events_s
):
    reporter = make_reporter(sessions=lambda: sessions)

    async def test():
        reporter.on_event(Progress("first"))
        reporter.on_event(ToolStart("c1", "Read", {"file_path": "second"}))
        passed_s = 0
        for kind, count, due_s in (
            ("progress", 2, progress_s),
            ("events", 1, events_s),
        ):
            await clock.pass_time(max(0, due_s - 1 - passed_s))
            if passed_s < due_s:
                assert len(writes.of(kind)) == count - 1
            await clock.pass_time(1)
            passed_s = due_s
            assert len(writes.of(kind)) == count

    await running(reporter, test)


# --- events


@pytest.mark.anyio
async def test_events_are_shipped_every_few_seconds(reporter, writes, clock):
    async def test():
        reporter.on_event(ToolStart("c1", "Read", {}))
        await clock.pass_time(4)
        assert writes.events() == []
        await clock.pass_time(2)

    await running(reporter, test)
    assert [event["event"] for event in writes.events()] == ["tool.start"]


@pytest.mark.parametrize(
    ("result", "status"),
    [(GOOD, "ok"), (BAD, "error"), (ProviderResult(exit_code=1, is_error=False), "error")],
)
def test_the_session_ends_once_and_says_how(reporter, writes, clock, result, status):
    reporter.on_event(Result(COST))
    reporter.on_event(Result(COST))
    clock.skip(9)
    reporter.close(result)
    [end] = writes.events("session.end")
    assert (end["status"], end["durationMs"]) == (status, 4000)
    assert writes.of("cost")[0]["isError"] is (status == "error")


# --- cost and context


def test_a_cost_is_posted_exactly_once(reporter, writes):
    for usd in (0.1, 0.7, 0.0):
        reporter.on_event(Result(CostData(total_cost_usd=usd)))
    reporter.close(ProviderResult(exit_code=1, is_error=True, cost=CostData(total_cost_usd=0.0)))
    reporter.close(BAD)
    [cost] = writes.of("cost")
    assert cost["totalCostUsd"] == 0.7
    assert cost["sessionId"] == "run-1"
    assert cost["isError"] is True


def test_no_cost_no_row(reporter, writes):
    reporter.close(GOOD)
    assert "cost" not in writes.kinds()
    assert writes.of("latest_model")[0]["latest_model"]["model"] == "opus"


def test_what_the_harness_left_out_of_its_cost_is_filled_in(make_reporter, writes, clock):
    reporter = make_reporter(model="gpt-5.4", wire_provider="codex", harness="codex")
    clock.skip(2.5)
    reporter.on_event(Result(CostData(input_tokens=5)))
    reporter.close(GOOD)
    [cost] = writes.of("cost")
    body = cost
    assert (body["model"], body["provider"], body["durationMs"]) == ("gpt-5.4", "codex", 2500)


def test_a_harness_the_server_does_not_know_is_not_named(make_reporter, writes):
    reporter = make_reporter(wire_provider=None, harness="mystery")
    reporter.on_event(SessionInit("native-1"))
    reporter.on_event(Result(CostData(total_cost_usd=1.0)))
    reporter.close(GOOD)
    assert "provider" not in writes.of("session")[0]["session"]
    assert "provider" not in writes.of("cost")[0]
    assert "harnessProvider" not in writes.of("latest_model")[0]["latest_model"]


def test_an_unknown_effort_does_not_void_the_model_report(reporter, writes):
    reporter.close(ProviderResult(exit_code=0, is_error=False, applied_reasoning_effort="turbo"))
    assert "reasoningEffort" not in writes.of("latest_model")[0]["latest_model"]


@pytest.mark.anyio
async def test_the_latest_withheld_snapshot_is_sent_when_the_interval_ends(reporter, writes, clock):
    async def test():
        reporter.on_event(ContextUsage(1, 1000, 0.1))
        reporter.on_event(ContextUsage(2, 1000, 0.2))
        await clock.pass_time(32, step_s=1)

    await running(reporter, test)
    assert [args["snapshot"]["contextUsedTokens"] for args in writes.of("context")] == [1, 2]


def test_the_model_that_really_runs_decides_the_window(make_reporter, writes):
    windows = {"gpt-5.4": None, "claude-haiku-4-5": 200_000}
    reporter = make_reporter(model="gpt-5.4", context_window=windows.get)
    reporter.on_event(SessionInit("native-1", model="claude-haiku-4-5"))
    reporter.on_event(ContextUsage(50_000))
    [posted] = writes.of("context")
    assert posted["snapshot"]["contextTotalTokens"] == 200_000


def test_a_task_taken_away_is_charged_but_not_touched(reporter, writes, journal):
    reporter.on_event(ContextUsage(1, 1000, 0.1))
    say(journal, reporter, "{}")
    reporter.on_event(Result(COST))
    reporter.close(GOOD, owns_task=False)
    assert writes.of("cost")[0]["taskId"] == "task-1"
    assert writes.shipped() == ["{}"]
    assert [args["snapshot"]["eventType"] for args in writes.of("context")] == ["progress"]


# --- the last words


def test_only_the_agents_own_words_are_its_last_words(reporter):
    reporter.on_event(Message("assistant", "The answer."))
    reporter.on_event(Message("assistant", "  \n"))
    reporter.on_event(Message("user", "Go on"))
    reporter.on_event(Message("assistant", "I am only a helper", subagent=True))
    assert reporter.last_text == "The answer."


# --- what a hostile or broken session can do


@pytest.mark.parametrize(
    "event",
    [
        ToolStart("c1", "Read", None),
        ToolStart("c1", "Read", 5),
        ToolStart("c1", None, {}),
        ToolStart(["c1"], "Read", {}),
        ToolEnd(None, None, None),
        Message("assistant", None),
        SessionInit(None),
        SessionInit("x", provider_meta="text"),
        ContextUsage("many"),
        ContextUsage(None, None, None),
        Compaction(None),
        Result("cost"),
        RawLog(None),
        Progress(None),
        "not an event",
        None,
    ],
)
def test_no_event_gets_an_exception_out(reporter, writes, event, journal):
    reporter.on_event(event)
    say(journal, reporter, '"next"')
    reporter.close(GOOD)
    assert writes.shipped() == ['"next"']
    assert writes.events("session.end")


def test_a_repeated_failure_is_logged_once(reporter, capsys):
    for _ in range(1000):
        reporter.on_event(Progress(None))
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("session.listener_failed") == 1


def test_a_broken_queue_stops_neither_the_session_nor_the_rest(reporter, writes, journal, clock):
    writes.broken = True
    reporter.on_event(SessionInit("native-1"))
    reporter.on_event(Progress("p"))
    say(journal, reporter, '"kept"')
    reporter._tick()
    writes.broken = False
    reporter.on_event(Result(COST))
    reporter.close(GOOD)
    assert writes.shipped() == ['"kept"']
    assert "cost" in writes.kinds()


def test_one_failing_step_at_the_end_does_not_cost_the_others(reporter, writes, monkeypatch):
    reporter.on_event(Result(COST))
    monkeypatch.setattr(reporter._events, "flush", lambda: 1 / 0)
    monkeypatch.setattr(reporter._tail, "finish", lambda: 1 / 0)
    reporter.close(GOOD)
    assert writes.kinds() == ["cost", "context", "latest_model"]


def test_events_after_the_end_are_ignored(reporter, writes, clock):
    reporter.close(GOOD)
    before = len(writes.puts)
    clock.skip(60)
    reporter.on_event(Progress("late"))
    reporter.on_event(SessionInit("late"))
    reporter.on_event(ContextUsage(1, 2, 3.0))
    assert len(writes.puts) == before


@pytest.mark.long
def test_a_flood_is_bounded_in_memory(make_reporter, journal):
    class Sink:
        def put(self, lane, kind, args):
            json.dumps(args)

    reporter = make_reporter(writes=Sink())
    line = "x" * 500
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2_000):
            reporter.on_event(ToolStart(f"c{number}", "Bash", {"description": line}))
            reporter.on_event(Message("assistant", f"{number} {line}"))
            reporter.on_event(ContextUsage(number, 1_000_000, 1.0, output_tokens=1))
            reporter.on_event(Progress(line))
            reporter.on_event(RawLog(line))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4 * 1024 * 1024
    assert sys.getsizeof(reporter.last_text) < 1000


def test_a_note_is_said_in_order_and_not_replaced(reporter, writes, clock):
    reporter.on_event(Progress("one"))
    reporter.on_event(Progress("two"))
    reporter.note("no output for 15 min")
    reporter.on_event(Progress("three"))
    clock.skip(60)
    reporter._tick()
    kinds = [kind for kind in writes.kinds() if kind in {"progress", "note"}]
    assert kinds == ["progress", "progress", "note", "progress"]
    assert [args["text"] for args in writes.of("note")] == ["no output for 15 min"]
    reporter.stop_progress()
    reporter.note("too late")
    assert len(writes.of("note")) == 1
