"""The outcome of a claude session, for each known way to end."""

from __future__ import annotations

from typing import Any

import pytest
from claude_streams import natives, translate

from agent_swarm_worker.contract import Error, Result

FAILURES = {
    "error_401": "authentication_failed",
    "error_429": "rate_limit",
    "error_500": "server_error",
    "error_529": "overloaded",
    "error_credit": "billing_error",
    "error_too_long": "context_overflow",
    "interrupted": "interrupted",
    "local_command": "empty_run",
    "local_compact": "empty_run",
    "max_budget": "max_budget",
    "max_turns": "max_turns",
    "not_logged_in": "authentication_failed",
    "resume_unknown": "stale_session",
    "subscription_limit": "usage_limit",
}
SUCCESSES = ("background", "bash", "bash_fails", "hello", "resumed", "retried_429", "wakeup")


@pytest.mark.parametrize("name", SUCCESSES)
def test_success(name: str) -> None:
    result = translate(name).conclude()
    assert (result.is_error, result.exit_code) == (False, 0)
    assert result.error_category is result.failure_reason is None
    assert result.output


@pytest.mark.parametrize(("name", "category"), FAILURES.items())
def test_failure(name: str, category: str) -> None:
    fake = translate(name)
    result = fake.conclude(exit_code=1)
    assert (result.is_error, result.error_category) == (True, category)
    last = fake.of(Result)[-1]
    assert (last.is_error, last.error_category) == (True, category)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_never_becomes_success_by_exit_code(name: str) -> None:
    assert translate(name).conclude(exit_code=0).is_error


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("error_401", "Authentication failed: Invalid API key · Fix external API key"),
        ("error_credit", "Billing error: Credit balance is too low"),
        ("interrupted", "Interrupted"),
        ("max_budget", "Budget limit exceeded: Reached maximum budget ($0.001)"),
        ("max_turns", "Max turns exceeded: Reached maximum number of turns (1)"),
        ("not_logged_in", "Authentication failed: Not logged in · Please run /login"),
    ],
)
def test_the_reason_is_one_readable_line(name: str, reason: str) -> None:
    assert translate(name).conclude(exit_code=1).failure_reason == reason


def test_an_error_text_is_never_the_output() -> None:
    assert translate("error_401").conclude(exit_code=1).output is None
    assert translate("max_turns").conclude(exit_code=1).output == "Working."


def test_a_prompt_the_cli_answers_itself_is_no_success() -> None:
    reason = translate("local_command").conclude().failure_reason
    assert reason
    assert reason.startswith("Claude ended without asking a model: /help")
    failed = natives("local_command")
    failed[1]["local_command_run"] = {"command": "compact", "args": ""}
    reason = translate(failed).conclude().failure_reason
    assert reason
    assert reason.startswith("Claude took the prompt as /compact without asking a model")


def test_an_expired_login_that_looks_like_success_is_none() -> None:
    """Seen in anthropics/claude-code-action#1501: over in two seconds, exit code 0."""
    lines = natives("local_command")
    del lines[1]["local_command_source"], lines[1]["local_command_outcome"]
    lines[-1]["num_turns"] = 1
    assert translate(lines).conclude().error_category == "empty_run"


def test_a_stand_in_that_says_nothing_of_usage_is_believed() -> None:
    result = {"type": "result", "subtype": "success", "result": "ok"}
    assert not translate([result]).conclude().is_error
    assert translate([{**result, "num_turns": 0}]).conclude().error_category == "empty_run"


def test_a_skill_that_runs_apart_is_a_success() -> None:
    """A forked skill shows no frame of its model, only its text and what it cost."""
    lines = natives("local_command")
    lines[-1]["result"] = "Reviewed."
    lines[-1]["model_usage_since_last_result"] = natives("hello")[-1]["modelUsage"]
    assert translate(lines).conclude().output == "Reviewed."


# --- how the process ended


def test_a_harness_that_hangs_after_its_result_has_succeeded() -> None:
    hung = {"exit_code": 1, "hung_after_result": True}
    for ending in (hung, {"exit_code": 143}):
        result = translate("hello").conclude(**ending)
        assert (result.is_error, result.exit_code) == (False, 0)


def test_a_crash_after_the_result_is_a_failure() -> None:
    result = translate("hello").conclude(exit_code=1, stderr_tail="TypeError: x\n  at y")
    assert result.error_category == "crashed"
    assert result.failure_reason == (
        "Claude exited with code 1 before it was finished: TypeError: x at y"
    )


def test_a_death_while_work_goes_on_in_the_background_is_a_failure() -> None:
    first_result = next(i for i, line in enumerate(natives("background")) if "result" in line) + 1
    unfinished = natives("background")[:first_result]
    assert translate(unfinished).conclude(exit_code=137).error_category == "killed"
    aborted = translate(unfinished).conclude(exit_code=0, aborted="cancelled")
    assert aborted.error_category == "aborted"


def test_a_success_that_is_complete_outlives_an_abort() -> None:
    for exit_code in (0, 143):
        assert not translate("hello").conclude(exit_code=exit_code, aborted="shutdown").is_error


@pytest.mark.parametrize(
    ("name", "exit_code"), [("killed", 143), ("killed", 0), ("interrupted", 0)]
)
def test_an_abort_is_an_abort(name: str, exit_code: int) -> None:
    result = translate(name).conclude(exit_code=exit_code, aborted="cancelled")
    assert (result.error_category, result.failure_reason) == ("aborted", "Aborted: cancelled")


def test_an_abort_before_the_start() -> None:
    result = translate([]).conclude(exit_code=130, aborted="cancelled")
    assert (result.error_category, result.cost, result.session_id) == ("aborted", None, None)


def test_a_failure_that_came_before_the_abort_is_the_cause() -> None:
    result = translate("subscription_limit").conclude(exit_code=143, aborted="cancelled")
    assert result.error_category == "usage_limit"


@pytest.mark.parametrize(
    ("ending", "category", "reason"),
    [
        (
            {"exit_code": 137},
            "killed",
            "Claude was killed (SIGKILL, exit code 137) before it was finished",
        ),
        ({"exit_code": 0}, "crashed", "Claude exited with code 0 before it was finished"),
        ({"exit_code": 250}, "killed", "Claude exited with code 250 before it was finished"),
        (
            {"exit_code": 1, "stderr_tail": "Error: Input must be provided\n"},
            "crashed",
            "Claude exited with code 1 before it was finished: Error: Input must be provided",
        ),
        (
            {"exit_code": 0, "truncated": True},
            "truncated",
            "Claude exited with code 0 before it was finished; its output was cut off",
        ),
        (
            {"exit_code": 1, "stderr_tail": "No conversation found with session ID: 1"},
            "stale_session",
            "Claude exited with code 1 before it was finished: "
            "No conversation found with session ID: 1",
        ),
    ],
)
def test_no_result_is_never_success(ending: dict[str, Any], category: str, reason: str) -> None:
    result = translate("killed").conclude(**ending)
    assert (result.is_error, result.error_category) == (True, category)
    assert result.failure_reason == reason


def test_a_death_among_retries_names_the_api_error() -> None:
    result = translate(natives("error_429")[:2]).conclude(exit_code=143)
    assert result.error_category == "rate_limit"
    assert result.failure_reason
    assert result.failure_reason.endswith("the model API answered 429 rate_limit")


def test_an_error_that_was_overcome_is_no_cause() -> None:
    *lines, _ = natives("retried_429")
    assert translate(lines).conclude(exit_code=137).error_category == "killed"


def test_a_reason_of_any_size_stays_one_line() -> None:
    lines = natives("max_turns")
    lines[-1]["errors"] = ["long\n" * 10_000]
    reason = translate(lines).conclude(exit_code=1).failure_reason
    assert reason
    assert len(reason) <= 500
    assert "\n" not in reason
    tail = "x" * 4096 + "\nthe end"
    reason = translate("killed").conclude(exit_code=1, stderr_tail=tail).failure_reason
    assert reason
    assert reason.endswith("the end")
    assert len(reason) <= 500


# --- limits


def test_a_subscription_limit_says_when_it_ends() -> None:
    result = translate("subscription_limit").conclude(exit_code=1)
    assert result.rate_limit_reset_at == "2026-11-21T22:00:00.000Z"
    window = result.rate_limit_windows["five_hour"]
    assert (window.status, window.utilization) == ("rejected", 1.0)
    assert (window.resets_at_s, window.is_using_overage) == (1795298400, False)
    assert window.last_seen_at == "2026-11-20T12:00:00.000Z"


def test_a_reset_time_is_read_from_the_text_if_need_be() -> None:
    result = translate("error_429").conclude(exit_code=1)
    assert result.rate_limit_reset_at == "2026-11-20T12:02:00.000Z"


@pytest.mark.parametrize(
    ("resets_at", "expected"),
    [
        (1, "2026-11-20T12:01:00.000Z"),
        (1e11, "2026-11-27T12:00:00.000Z"),
        (1e300, None),
        ("1795298400", None),
        (float("nan"), None),
        (True, None),
        (None, None),
    ],
)
def test_reset_times_are_clamped_or_refused(resets_at: Any, expected: str | None) -> None:
    info = {"status": "rejected", "rateLimitType": "five_hour", "resetsAt": resets_at}
    lines = natives("error_401")
    lines[2]["error"], lines[3]["api_error_status"] = "rate_limit", 429
    lines.insert(1, {"type": "rate_limit_event", "rate_limit_info": info})
    result = translate(lines).conclude(exit_code=1)
    assert result.error_category == "rate_limit"
    assert result.rate_limit_reset_at == expected


def test_a_refused_connection_is_no_failure_of_the_server() -> None:
    """The CLI calls it one, without a status, as there was no answer."""
    said = "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)"
    lines = natives("error_500")
    lines[2]["message"]["content"] = [{"type": "text", "text": said}]
    lines[3]["result"] = said
    lines[3].pop("api_error_status")
    assert translate(lines).conclude(exit_code=1).error_category == "network"


def test_a_limit_that_others_pay_over_does_not_stop_a_run_that_worked() -> None:
    info = natives("subscription_limit")[1]
    result = translate([*natives("hello")[:2], info, natives("hello")[-1]]).conclude()
    assert not result.is_error
    assert result.rate_limit_reset_at is None
    assert result.rate_limit_windows["five_hour"].status == "rejected"


def test_a_limit_is_no_matter_to_a_failure_of_another_kind() -> None:
    lines = natives("error_500")
    lines.insert(1, natives("subscription_limit")[1])
    assert translate(lines).conclude(exit_code=1).rate_limit_reset_at is None


# --- the rest of the result


def test_the_effort_that_the_real_model_works_with() -> None:
    assert (
        translate("hello", reasoning_effort="xhigh").conclude().applied_reasoning_effort == "xhigh"
    )
    assert translate("hello", reasoning_effort="off").conclude().applied_reasoning_effort is None
    assert (
        translate("resume_unknown", reasoning_effort="low").conclude().applied_reasoning_effort
        is None
    )


def test_every_error_event_has_words() -> None:
    for name in FAILURES:
        assert all(error.message for error in translate(name).of(Error))
