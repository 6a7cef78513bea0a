from __future__ import annotations

import json
import time
from functools import partial

import anyio
import pytest
from patience import HANG_S
from reporting_doubles import WordRedactor

from agent_swarm_worker.contract import ProviderResult
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.json_schema import MAX_ERROR_CHARS
from agent_swarm_worker.reporting.finish import (
    MAX_MESSAGE_CHARS,
    MAX_QUOTED_MESSAGE_CHARS,
    MAX_REASON_CHARS,
    NO_OUTPUT,
    decide_finish,
)
from agent_swarm_worker.reporting.output_schema import check_output

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["count"],
    "additionalProperties": False,
}
FITS = '{"count": 3}'


def decide(output=None, **changes):
    result = ProviderResult(exit_code=0, is_error=False, output=output)
    values = {"harness": "claude", "redactor": WordRedactor()} | changes
    decision = partial(decide_finish, values.pop("result", result), checker=check_here, **values)
    return anyio.run(decision)


async def check_here(check):
    return check_output(check)


def failed(**fields):
    return decide(result=ProviderResult(**({"exit_code": 1, "is_error": True} | fields)))


# --- output


@pytest.mark.parametrize(
    ("output", "last_text", "existing", "chosen"),
    [
        ("given", "spoken", "stored", "given"),
        ("", "spoken", "stored", "spoken"),
        (" \n", "spoken", "stored", "spoken"),
        (None, "", "stored", "stored"),
        (None, "  ", "", NO_OUTPUT),
        (None, "", None, NO_OUTPUT),
    ],
)
def test_the_first_that_says_something_is_the_output(output, last_text, existing, chosen):
    body = decide(output, last_text=last_text, existing_output=existing)
    assert (body.status, body.output, body.failure_reason) == ("completed", chosen, None)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "superseded"])
def test_a_task_the_agent_or_the_server_has_ended_is_left_alone(status):
    assert decide("given", task_status=status, existing_output="stored") is None


@pytest.mark.parametrize("status", [None, "in_progress", "pending", "something new"])
def test_any_other_status_is_finished(status):
    assert decide("given", task_status=status).output == "given"


def test_spoken_words_are_bounded_but_what_was_given_is_not():
    long = "x" * 1_000_000
    spoken = decide(None, last_text=long).output
    assert spoken.startswith("x" * MAX_MESSAGE_CHARS)
    assert len(spoken) < MAX_MESSAGE_CHARS + 50
    assert not spoken.endswith("x")
    assert decide(long).output == long


def test_output_is_scrubbed_before_it_is_cut():
    words = "x" * (MAX_MESSAGE_CHARS - 7) + WordRedactor.SECRET
    assert "hunter2" not in decide(None, last_text=words).output
    assert decide(f"key {WordRedactor.SECRET}").output == "key [REDACTED]"


def test_the_arguments_of_the_write():
    assert decide("given").args("t1") == {"task_id": "t1", "status": "completed", "output": "given"}
    assert failed(failure_reason="why").args("t1") == {
        "task_id": "t1",
        "status": "failed",
        "failure_reason": "why",
    }


# --- failure


@pytest.mark.parametrize(("exit_code", "is_error"), [(1, False), (0, True), (143, True)])
def test_an_error_fails_the_task_whatever_the_exit_code(exit_code, is_error):
    body = failed(exit_code=exit_code, is_error=is_error, output="half an answer")
    assert body.status == "failed"
    assert body.output is None
    assert f"exit code {exit_code}" in body.failure_reason


def test_the_reason_carries_its_category_once():
    reason = failed(failure_reason="Too many requests", error_category="rate_limit").failure_reason
    assert reason == "Too many requests [rate_limit]"
    reason = failed(failure_reason="rate_limit: slow down", error_category="rate_limit")
    assert reason.failure_reason == "rate_limit: slow down"


def test_without_a_reason_the_last_words_are_one():
    result = ProviderResult(exit_code=2, is_error=True)
    reason = decide(result=result, last_text=f"cannot use {WordRedactor.SECRET}").failure_reason
    assert (
        reason == "claude ended with an error (exit code 2); its last words: cannot use [REDACTED]"
    )


def test_a_reason_is_scrubbed_and_bounded():
    reason = failed(failure_reason=WordRedactor.SECRET + "y" * 1_000_000).failure_reason
    assert reason.startswith("[REDACTED]yyy")
    assert len(reason) < MAX_REASON_CHARS + 50


# --- output of a given shape


@pytest.mark.parametrize(
    "text",
    [
        FITS,
        f"  {FITS}\n",
        f"```json\n{FITS}\n```",
        f"Here you are:\n\n```json\n{FITS}\n```\nAnything else?",
        f"```\n{FITS}\n```",
        f"The result is {FITS}, as asked.",
        f'First I thought {{"count": "three"}}, but it is {FITS}.',
        f"Not [1, 2], nor {{this}}; {FITS}",
        f'An example: {{"count": 1}}. Mine: {FITS}',
        f'```json\n{FITS}\n```\nThe shape was {{"count": 99}}.',
    ],
)
def test_the_json_that_fits_is_found(text):
    body = decide(text, output_schema=SCHEMA)
    assert (body.status, body.output) == ("completed", FITS)
    assert bool(body.note) == (text.strip() != FITS)


def test_the_first_source_that_fits_wins():
    body = decide("Done!", last_text="prose", existing_output=FITS, output_schema=SCHEMA)
    assert body.output == FITS
    body = decide(None, last_text=f"So: {FITS}", output_schema=SCHEMA)
    assert body.output == FITS


def test_long_spoken_json_is_not_cut_in_two():
    long = json.dumps({"count": 1, "name": "n" * 2 * MAX_MESSAGE_CHARS})
    assert decide(None, last_text=long, output_schema=SCHEMA).output == long


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"count": "three"}', "$.count: 'three' is not of type 'integer'"),
        ('{"name": "x"}', "'count' is a required property"),
        ('{"count": 1, "more": 2}', "'more' was unexpected"),
        ('{"count": 1.5}', "is not of type 'integer'"),
        ("just prose", "not JSON"),
        ('{"count": NaN}', "not JSON"),
        ('{"count": 1', "not JSON"),
        ("{'count': 1}", "not JSON"),
        ('{"wrapped": {"count": 1}}', "$"),
    ],
)
def test_a_mismatch_fails_with_the_error_and_keeps_the_output(text, why):
    body = decide(text, output_schema=SCHEMA)
    assert body.status == "failed"
    assert why in body.failure_reason
    assert text in body.failure_reason


def test_the_kept_output_is_bounded_and_scrubbed():
    text = f'{{"count": "{WordRedactor.SECRET}", "name": "{"n" * 100_000}"}}'
    reason = decide(text, output_schema=SCHEMA).failure_reason
    assert len(reason) < MAX_REASON_CHARS
    assert "hunter2" not in reason


def test_no_half_secret_is_left_where_a_message_is_cut():
    for length in range(MAX_ERROR_CHARS - 40, MAX_ERROR_CHARS):
        text = f'{{"count": "{"n" * length}{WordRedactor.SECRET}"}}'
        assert "hunter" not in decide(text, output_schema=SCHEMA).failure_reason
    for length in range(MAX_QUOTED_MESSAGE_CHARS - 20, MAX_QUOTED_MESSAGE_CHARS):
        result = ProviderResult(exit_code=2, is_error=True)
        body = decide(result=result, last_text="n" * length + WordRedactor.SECRET)
        assert "hunter" not in body.failure_reason


def test_a_secret_in_fitting_json_is_scrubbed_and_it_stays_json():
    text = f'{{"count": 1, "name": "{WordRedactor.SECRET}"}}'
    assert json.loads(decide(text, output_schema=SCHEMA).output)["name"] == "[REDACTED]"


def test_a_secret_made_of_digits_may_stand_in_a_number():
    scrubber = Scrubber()
    scrubber.add("PIN", "90210902109021")
    text = '{\n  "count": 90210902109021,\n  "name": "n"\n}'
    body = decide(text, output_schema=SCHEMA, redactor=scrubber)
    assert body.status == "completed"
    assert json.loads(body.output) == {"count": "[REDACTED:PIN]", "name": "n"}


def test_no_output_where_one_is_demanded_is_a_failure():
    assert decide(None, output_schema=SCHEMA).status == "failed"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"type": 5},
        {"pattern": "("},
        {"properties": []},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"$schema": {}},
    ],
)
def test_a_schema_that_is_none_does_not_cost_the_work(schema):
    body = decide(FITS, output_schema=schema)
    assert (body.status, body.output) == ("completed", FITS)
    assert "outputSchema" in body.note


def test_a_schema_is_never_fetched_over_the_network(monkeypatch):
    calls = []

    def refuse(*args, **kwargs):
        calls.append(args)
        raise OSError("the network was used")

    monkeypatch.setattr("socket.create_connection", refuse)
    body = decide(FITS, output_schema={"$ref": "http://127.0.0.1:9/schema.json"})
    assert calls == []
    assert (body.status, body.output) == ("completed", FITS)


def test_an_empty_schema_demands_nothing():
    assert decide("prose", output_schema={}).output == "prose"


def test_an_older_dialect_is_understood():
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array"}
    assert decide("[1]", output_schema=schema).status == "completed"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 100_000,
        "[1," * 300_000,
        "{" * 1_000_000,
        "```json\n" * 50_000,
        "[" + "9" * 100_000 + "]",
        "[1] " * 500_000,
        "```\n[1]\n```\n" * 50_000,
        "x" * 1_000_000 + "{ " * 100_000,
    ],
)
def test_hostile_text_is_given_up_on_quickly(text):
    began = time.perf_counter()
    assert decide(text, output_schema=SCHEMA).status == "failed"
    assert time.perf_counter() - began < HANG_S


def test_what_is_sent_is_plain_text_and_scrubbed():
    redactor = Scrubber()
    redactor.add("TOKEN", "a-secret-of-mine")
    said = "\x1b[31mNo: a-sec\x1b[1mret-of-mine\x1b[0m\x9b0m \u202eback\r\nne\x00xt"
    assert decide(said, redactor=redactor).output == "No: [REDACTED:TOKEN] back\nne xt"
    result = ProviderResult(exit_code=1, is_error=True, failure_reason=said)
    assert (
        decide(result=result, redactor=redactor).failure_reason
        == "No: [REDACTED:TOKEN] back\nne xt"
    )
