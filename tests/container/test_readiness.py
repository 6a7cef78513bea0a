"""Waiting for the API, with a time limit."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from container_rig import CONFIG, HEALTH, KEY, REPOS, SCRIPTS, Box, Done, ScriptedApi

from agent_swarm_worker.container.prepare import ready_limit_s
from agent_swarm_worker.errors import ContainerError


def fatal(done: Done) -> str:
    return next(line for line in done.err.splitlines() if line.startswith("[entrypoint] FATAL"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_worker_that_starts_before_the_api_waits_for_it(box: Box):
    port = free_port()
    late = ScriptedApi.__new__(ScriptedApi)

    def open_late() -> None:
        time.sleep(2.0)
        late.__init__(port)  # type: ignore[misc]
        late.__enter__()

    opener = threading.Thread(target=open_late)
    opener.start()
    try:
        done = box.prepare(command=("echo", "started"), MCP_BASE_URL=f"http://127.0.0.1:{port}")
    finally:
        opener.join()
        late.__exit__()
    assert (done.code, done.out) == (0, "started\n"), done.err
    assert done.took_s > 1.9


def test_an_api_that_never_comes_up_ends_the_boot_with_the_fatal_line(box: Box):
    url = f"http://127.0.0.1:{free_port()}"
    done = box.prepare(
        command=("echo", "started"), MCP_BASE_URL=url, WORKER_API_READY_TIMEOUT_SECONDS="2"
    )
    assert (done.code, done.out) == (1, "")
    assert fatal(done) == (
        f"[entrypoint] FATAL: API readiness timed out after 2s waiting for {url}/health; exiting."
    )
    assert done.took_s < 20


def test_an_api_that_accepts_and_never_answers_does_not_block_the_boot(box: Box, api: ScriptedApi):
    api.hanging.add(HEALTH)
    done = box.prepare(WORKER_API_READY_TIMEOUT_SECONDS="2")
    assert done.code == 1
    assert "API readiness timed out after 2s" in fatal(done)
    assert done.took_s < 20


def test_endpoints_that_never_answer_after_the_gate_cost_their_limit_and_no_more(
    box: Box, api: ScriptedApi
):
    api.hanging |= {CONFIG, REPOS, SCRIPTS}
    done = box.prepare(command=("echo", "started"), SWARM_API_TIMEOUT_S="1")
    assert (done.code, done.out) == (0, "started\n"), done.err
    assert done.took_s < 20
    assert {step for step in ("rows", "scripts", "repos") if done.steps(step)} == {
        "rows",
        "scripts",
        "repos",
    }


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1.5", "00", " 5", "5 ", "\u0661", "+5"])
def test_a_time_limit_that_is_no_positive_integer_is_refused(value: str):
    with pytest.raises(ContainerError, match="must be a positive integer, got"):
        ready_limit_s({"WORKER_API_READY_TIMEOUT_SECONDS": value})


@pytest.mark.parametrize("value", ["1.5", "0"])
def test_a_time_limit_that_cannot_be_used_is_told_as_ever(box: Box, value: str):
    done = box.prepare(WORKER_API_READY_TIMEOUT_SECONDS=value)
    assert done.code == 1
    assert fatal(done) == (
        "[entrypoint] FATAL: WORKER_API_READY_TIMEOUT_SECONDS must be a positive integer,"
        f" got '{value}'; exiting."
    )


def test_a_blank_time_limit_is_the_default():
    assert ready_limit_s({"WORKER_API_READY_TIMEOUT_SECONDS": ""}) == ready_limit_s({}) == 90


@pytest.mark.parametrize("end", ["/", "//"])
def test_a_trailing_slash_of_the_address_is_no_second_one(box: Box, api: ScriptedApi, end: str):
    assert box.prepare(MCP_BASE_URL=api.url + end).code == 0
    assert api.asked[0][0] == HEALTH


def test_the_key_is_never_printed_and_not_sent_to_the_gate(box: Box, api: ScriptedApi):
    url = api.url.replace("http://", f"http://user:{KEY}@")
    done = box.prepare(MCP_BASE_URL=url, SWARM_LOG_LEVEL="debug")
    assert done.code == 0, done.err
    assert KEY not in done.out + done.err
    headers = dict(reversed(api.asked))[HEALTH]
    assert KEY not in str(headers)
    assert "x-agent-id" not in headers
    never = box.prepare(
        MCP_BASE_URL=f"http://user:{KEY}@127.0.0.1:{free_port()}",
        WORKER_API_READY_TIMEOUT_SECONDS="1",
    )
    assert never.code == 1
    assert KEY not in never.err


def test_without_a_key_nothing_is_asked(box: Box, api: ScriptedApi):
    done = box.prepare(API_KEY="")
    assert done.code == 1
    assert "API_KEY environment variable is required" in fatal(done)
    assert api.asked == []


def test_the_other_name_of_the_key_counts(box: Box, api: ScriptedApi):
    assert box.prepare(API_KEY="", AGENT_SWARM_API_KEY=KEY).code == 0
    assert dict(api.asked)[CONFIG]["authorization"] == f"Bearer {KEY}"
