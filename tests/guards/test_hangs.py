"""What a session that hangs waits for, told by its last words."""

from __future__ import annotations

import json

import pytest

from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.guards.hangs import (
    RETRY_HINTS,
    Hang,
    classify_hang,
    quote_line,
    with_retry_hint,
)


def out(content: str) -> str:
    """A line of words as the journal wraps it."""
    return json.dumps({"type": "stdout", "content": content})


QUESTIONS = [
    "Continue? [y/N] ",
    "Overwrite /etc/passwd? (yes/no)",
    "Apply this hunk [y,n]? (y/n/a/q)",
    "Do you want to proceed?",
    "Press any key to continue...",
    "Press ENTER to continue",
    "Type 'yes' to go on",
    "Waiting for approval",
    "INFO permission=bash action=rm asking",
]
PROMPTS = [
    "Name: ",
    "Enter passphrase:",
    "What shall I do? ",
    "Password for git@example.org: ",
    "> ",
    "$ ",
    "sqlite> ",
]
QUESTION_EVENTS = [
    {"type": "control_request", "request": {"subtype": "can_use_tool", "tool_name": "Bash"}},
    {"method": "item/commandExecution/requestApproval", "id": 3, "params": {}},
    {"method": "session/request_permission", "params": {}},
    {"method": "mcpServer/elicitation/request"},
    {"type": "permission.asked", "properties": {}},
    {"type": "system", "subtype": "permission_request"},
]
NETWORK = [
    out("Reconnecting... waiting for network (Connection failed)"),
    json.dumps({"type": "error", "message": "Reconnecting... waiting for network"}),
    json.dumps({"type": "stderr", "content": "trying\nconnect ECONNREFUSED 127.0.0.1:9\n"}),
]
NO_PROMPTS = ["Traceback (most recent call last):", "what now?", "done", "100%", "it costs 5$"]
NO_REASON = [
    "",
    out(""),
    out("compiling 3 of 7"),
    out("That is the question: to be or not to be."),
    out("yes or no"),
    json.dumps({"type": "assistant", "message": {"content": "Continue? [y/N] "}}),
    json.dumps({"type": "system", "subtype": "permission_denied"}),
    json.dumps({"type": "error", "message": "the tool failed"}),
    json.dumps([1, 2]),
    "17",
    '{"cut',
]


@pytest.mark.parametrize("said", [out(words) for words in QUESTIONS] + QUESTIONS)
@pytest.mark.parametrize("is_cut_off", [True, False])
def test_a_question_is_one_wherever_the_line_ends(said: str, is_cut_off: bool):
    assert classify_hang(Hang.STALLED, said, is_cut_off=is_cut_off) is Hang.AWAITING_INPUT


@pytest.mark.parametrize("words", PROMPTS)
def test_a_prompt_leaves_the_cursor_behind_it(words: str):
    assert classify_hang(Hang.STALLED, out(words), is_cut_off=True) is Hang.AWAITING_INPUT
    assert classify_hang(Hang.STALLED, out(words), is_cut_off=False) is Hang.STALLED


@pytest.mark.parametrize("words", NO_PROMPTS)
def test_what_is_said_of_the_signal_is_no_prompt(words: str):
    for said in (out(words), json.dumps({"type": "stderr", "content": f"{words}\n{words}"})):
        assert classify_hang(Hang.STALLED, said, is_cut_off=True) is Hang.STALLED


@pytest.mark.parametrize("event", QUESTION_EVENTS)
def test_a_protocols_question_is_one(event: dict[str, object]):
    said = json.dumps(event)
    assert classify_hang(Hang.STALLED, said, is_cut_off=False) is Hang.AWAITING_INPUT
    assert classify_hang(Hang.TIMEOUT, said, is_cut_off=False) is Hang.AWAITING_INPUT


@pytest.mark.parametrize("said", NETWORK)
def test_a_network_that_is_waited_for(said: str):
    assert classify_hang(Hang.STALLED, said, is_cut_off=False) is Hang.NETWORK


def test_one_that_is_busy_with_a_network_it_waits_for_is_no_long_work():
    assert classify_hang(Hang.TIMEOUT, NETWORK[0], is_cut_off=False) is Hang.NETWORK
    # A test that passes may speak of refused connections; a limit on time is then just that.
    said = out("ok 17 - connection refused is reported")
    assert classify_hang(Hang.TIMEOUT, said, is_cut_off=False) is Hang.TIMEOUT


@pytest.mark.parametrize("said", NO_REASON)
@pytest.mark.parametrize("hang", [Hang.STALLED, Hang.TIMEOUT])
def test_what_shows_no_reason_leaves_the_limit_as_it_is(said: str, hang: Hang):
    assert classify_hang(hang, said, is_cut_off=False) is hang


def test_terminal_sequences_hide_nothing():
    said = "\x1b[1;33mContinue?\x1b[0m [\x1b[32my\x1b[0m/N] "
    assert classify_hang(Hang.STALLED, out(said), is_cut_off=True) is Hang.AWAITING_INPUT
    assert quote_line(out(said)) == "Continue? [y/N]"


def test_last_words_are_quoted_for_people():
    assert quote_line(out("Continue?\t [y/N] ")) == "Continue? [y/N]"
    assert quote_line(json.dumps({"type": "stderr", "content": "one\ntwo\n\n"})) == "two"
    assert quote_line(json.dumps({"type": "assistant", "message": {"x": 1}})) == "assistant"
    assert quote_line(json.dumps({"type": "error", "message": "no way"})) == "error no way"
    assert quote_line("") == ""
    assert len(quote_line(out("x" * 5000))) == 200


@pytest.mark.parametrize("hang", Hang)
def test_each_way_has_a_hint_of_its_own(hang: Hang):
    told = with_retry_hint("it hung", hang.value)
    assert told.startswith("it hung\nRetry: ")
    assert RETRY_HINTS[hang] in told
    assert len(set(RETRY_HINTS.values())) == len(Hang)


@pytest.mark.parametrize("category", [None, "", "crashed", "cancelled", ErrorClass.RATE_LIMIT])
def test_other_failures_have_none(category: str | None):
    assert with_retry_hint("it failed", category) == "it failed"
