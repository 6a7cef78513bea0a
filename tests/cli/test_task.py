"""``swarm-worker task`` on a real swarm with a real worker."""

from __future__ import annotations

import fcntl
import io
import json
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cli_rig import (
    KEY,
    Answer,
    bare_env,
    call,
    local_swarm,
    running,
    scripted_api,
    start,
    stop,
    worker,
)
from patience import HANG_S, until_blocking

from agent_swarm_worker.cli import follow
from agent_swarm_worker.cli.app import main

Capture = pytest.CaptureFixture[str]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A swarm with a worker."""
    place = tmp_path_factory.mktemp("swarm")
    with local_swarm(place, SWARM_LOG_LEVEL="error") as (url, _, _), worker(place, url):
        yield url


Task = Callable[..., tuple[int, str, str]]


@pytest.fixture
def task(url: str, env: dict[str, str], capsys: Capture) -> Task:
    """Call ``swarm-worker task …`` in this process."""
    env.update(MCP_BASE_URL=url, API_KEY=KEY)

    def act(*words: str) -> tuple[int, str, str]:
        code = main(["task", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def submitted(task: Task, *words: str) -> str:
    code, said, errors = task("submit", *words)
    assert (code, errors) == (0, "")
    return said.strip()


# --- submit and follow
@pytest.mark.long
def test_submit_prints_the_id_and_follow_shows_the_task(task: Task):
    task_id = submitted(task, "please say hi")
    code, said, errors = task("follow", task_id)
    assert (code, errors) == (0, "")
    assert f"▶ task {task_id}" in said
    assert "💬 Hi there." in said
    assert "💰 $0.2500, 9 tokens, model m-1" in said
    assert "✔ completed\n\nOutput\n  Said hi.\n" in said
    # A second look at what is over shows the same.
    assert "💬 Hi there." in task("follow", task_id)[1]


def test_submit_follow_does_both(task: Task):
    code, said, errors = task("submit", "--follow", "please say hi")
    assert (code, errors) == (0, "")
    assert "💬 Hi there." in said
    assert "✔ completed" in said


def test_a_task_that_fails_ends_it_with_1(task: Task):
    code, said, _ = task("submit", "please fail", "--follow")
    assert code == 1
    assert "✘ it broke" in said
    assert "✘ failed\n\nReason\n  " in said


def test_with_json_only_json_is_on_standard_output(task: Task):
    code, said, errors = task("submit", "--follow", "--json", "please say hi")
    assert code == 0
    row = json.loads(said)
    assert (row["status"], row["output"]) == ("completed", "Said hi.")
    assert row["costs"][0]["totalCostUsd"] == 0.25
    assert "💬 Hi there." in errors
    code, said, _ = task("submit", "--follow", "--json", "please fail")
    assert (code, json.loads(said)["status"]) == (1, "failed")


def test_every_option_reaches_the_server(task: Task, tmp_path: Path):
    schema = {"type": "object", "required": ["answer"], "properties": {"answer": {}}}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    parent = submitted(task, "please say hi")
    words = ["--dir", str(tmp_path), "--parent", parent, "--model", "m-9", "--priority", "70"]
    words += ["--tag", "one", "--tag", "two", "--output-schema", str(path), "--json"]
    code, said, _ = task("submit", "please answer in JSON", *words)
    assert code == 0
    row = json.loads(said)
    assert (row["dir"], row["parentTaskId"], row["model"]) == (str(tmp_path), parent, "m-9")
    assert (row["priority"], row["tags"], row["outputSchema"]) == (70, ["one", "two"], schema)
    code, said, _ = task("follow", row["id"], "--json")
    assert code == 0
    assert json.loads(json.loads(said)["output"]) == {"answer": 42}


def test_a_task_for_an_agent_is_not_for_the_pool(task: Task):
    code, said, _ = task("submit", "--json", "--agent", UNKNOWN, "for somebody")
    assert (code, json.loads(said)["agentId"]) == (0, UNKNOWN)


def test_words_from_standard_input(url: str, tmp_path: Path):
    env = bare_env(tmp_path, MCP_BASE_URL=url, API_KEY=KEY)
    (tmp_path / "words").write_bytes("two lines\nof Wörter\n".encode())
    with (tmp_path / "words").open("rb") as words:
        code, said, _ = call("task", "submit", "--json", "-", env=env, stdin=words)
    assert (code, json.loads(said)["task"]) == (0, "two lines\nof Wörter\n")


def test_words_that_begin_with_a_dash(task: Task):
    code, said, _ = task("submit", "--json", "--", "--this is no flag")
    assert (code, json.loads(said)["task"]) == (0, "--this is no flag")


# --- what cannot be submitted
class Bytes(io.StringIO):
    """Standard input."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("words", ["", "  \n", "-"])
def test_a_task_needs_words(task: Task, monkeypatch: pytest.MonkeyPatch, words: str):
    monkeypatch.setattr(sys, "stdin", Bytes(b" \n"))
    code, said, errors = task("submit", words)
    assert (code, said) == (2, "")
    assert "needs some words" in errors


def test_standard_input_that_is_no_text(task: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", Bytes(b"\xff\xfe"))
    code, _, errors = task("submit", "-")
    assert (code, errors) == (2, "swarm-worker: standard input is not UTF-8 text\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), ("{not json", "not JSON"), ("[]", "not a JSON object"), ("", "not")],
)
def test_a_schema_that_cannot_be_used(task: Task, tmp_path: Path, content: str | None, why: str):
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    code, said, errors = task("submit", "--output-schema", str(path), "do it")
    assert (code, said) == (78, "")
    assert errors.startswith(f"swarm-worker: cannot read {path}: ")
    assert why in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["nonesuch"], ["submit"], ["follow"], ["list", "--limit", "x"]]
)
def test_words_that_make_no_command(task: Task, words: list[str]):
    assert task(*words)[0] == 2


# --- cancel, show, list
@pytest.mark.long
def test_cancel_ends_a_running_task_and_its_follower_says_so(task: Task, url: str, tmp_path: Path):
    env = bare_env(tmp_path, MCP_BASE_URL=url, API_KEY=KEY)
    follower = ("task", "submit", "--follow", "please wait")
    with running(*follower, env=env, place=tmp_path) as (process, said):
        until_blocking(lambda: "I am waiting." in said())
        task_id = said().split("▶ task ")[1].split()[0]
        assert task("cancel", task_id, "--reason", "enough") == (0, f"cancelled {task_id}\n", "")
        assert process.wait(15) == 1
        assert "✘ cancelled" in said()
    code, shown, _ = task("show", task_id, "--json")
    assert (code, json.loads(shown)["status"]) == (0, "cancelled")
    code, _, errors = task("cancel", task_id)
    assert code == 1
    assert "answered 400" in errors


def test_cancel_with_json(task: Task):
    task_id = submitted(task, "--agent", UNKNOWN, "for somebody")
    code, said, _ = task("cancel", task_id, "--json")
    assert (code, json.loads(said)) == (0, {"id": task_id, "cancelled": True})


def test_show(task: Task):
    task_id = submitted(task, "--agent", UNKNOWN, "first line\nsecond line")
    code, said, _ = task("show", task_id)
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split() == ["FIELD", "VALUE"]
    assert lines[1].split() == ["id", task_id]
    # What a task says cannot pass for another field.
    assert any(line.startswith(" ") and line.endswith("second line") for line in lines)


def test_list(task: Task):
    task_id = submitted(task, "--agent", UNKNOWN, "one of\nmany")
    code, said, _ = task("list", "--limit", "1")
    heading, row = said.splitlines()
    assert (code, heading.split()) == (0, ["ID", "STATUS", "CREATED", "TASK"])
    assert row.startswith(f"{task_id}  ")
    assert row.endswith("  one of many")
    code, said, _ = task("list", "--json", "--status", "completed,failed")
    assert {row["status"] for row in json.loads(said)} <= {"completed", "failed"}


# --- a hostile agent
def test_what_an_agent_says_cannot_drive_the_terminal(task: Task):
    code, followed, errors = task("submit", "--follow", "please be strange")
    assert (code, errors) == (0, "")
    for word in ("words", "progress", "plain", "error", "output"):
        assert f"{word} " in followed
    task_id = followed.split("▶ task ")[1].split()[0]
    _, shown, _ = task("show", task_id)
    _, as_json, _ = task("show", task_id, "--json")
    for text in (followed, shown, as_json):
        assert text.replace("\n", "").isprintable()
    assert json.loads(as_json)["output"].startswith("output ")


# --- errors
@pytest.mark.parametrize("action", ["show", "follow", "cancel"])
def test_an_unknown_task(task: Task, action: str):
    code, _, errors = task(action, UNKNOWN)
    assert code == 1
    assert "answered 404" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("action", ["show", "follow", "cancel"])
@pytest.mark.parametrize("task_id", ["..", ""])
def test_an_id_that_is_none(task: Task, action: str, task_id: str):
    code, _, errors = task(action, task_id)
    assert code == 78
    assert "not an identifier" in errors


ALL = [
    ["submit", "x"],
    ["submit", "--follow", "x"],
    ["list"],
    *([a, "x"] for a in ("show", "cancel", "follow")),
]


@pytest.mark.parametrize("words", ALL)
def test_an_api_that_is_not_there(env: dict[str, str], capsys: Capture, words: list[str]):
    env["MCP_BASE_URL"] = "http://127.0.0.1:9"
    assert main(["task", *words]) == 1
    assert "no answer from http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("words", ALL)
def test_a_wrong_key(task: Task, env: dict[str, str], words: list[str]):
    env["AGENT_SWARM_API_KEY"] = "wrong-key-9876543210"
    code, _, errors = task(*words)
    assert code == 1
    assert "answered 401: Unauthorized" in errors
    assert "wrong-key" not in errors


def test_a_setting_that_cannot_be_used(env: dict[str, str], capsys: Capture):
    env["PORT"] = "none"
    assert main(["task", "list"]) == 78
    assert capsys.readouterr().err.startswith("swarm-worker: PORT='none' cannot be used: ")


def test_a_signal_ends_the_wait_for_words(tmp_path: Path):
    process = start("task", "submit", "-", env=bare_env(tmp_path), stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(b"the first of many words")
    process.stdin.flush()
    until_blocking(lambda: unread_bytes(process.stdin) == 0)
    code, took_s = stop(process)
    assert (code, process.communicate()[1]) == (130, b"")
    assert took_s < HANG_S


def unread_bytes(pipe: Any) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)


@pytest.mark.long
def test_a_signal_ends_following_and_not_the_task(task: Task, url: str, tmp_path: Path):
    env = bare_env(tmp_path, MCP_BASE_URL=url, API_KEY=KEY)
    with running("task", "submit", "--follow", "please wait", env=env, place=tmp_path) as (
        process,
        said,
    ):
        until_blocking(lambda: "I am waiting." in said())
        code, took_s = stop(process)
    assert code == 130
    assert took_s < HANG_S
    assert "Traceback" not in said()
    task_id = said().split("▶ task ")[1].split()[0]
    assert json.loads(task("show", task_id, "--json")[1])["status"] == "in_progress"
    assert task("cancel", task_id)[0] == 0


# --- an API that comes and goes while a task is followed
class Api:
    """Shows one task; a test can take it away meanwhile."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.late_by = 0
        """How often costs are asked for before they and the last line are there."""
        self.costs_asked = 0

    def __call__(self, request: str) -> Answer:
        if request.endswith("/session-logs"):
            line = {"sessionId": "s", "iteration": 1, "lineNumber": 1, "content": "last words"}
            return 200, {"logs": [line] if self.costs_asked > self.late_by else []}
        if request.endswith("/api/session-costs"):
            self.costs_asked += 1
            cost = {"totalCostUsd": "no number", "inputTokens": None}
            return 200, {"costs": [cost] if self.costs_asked > self.late_by else []}
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def row(status: str) -> Answer:
    return 200, {"id": "t", "status": status, "output": "Done."}


@pytest.fixture
def api(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(follow, "INTERVAL_S", 0.0)
    monkeypatch.setattr(follow, "TICK_S", 0.01)
    script = Api()
    with scripted_api(script) as url:
        env["MCP_BASE_URL"] = url
        yield script


@pytest.mark.parametrize("away", [(500, {}), (503, "busy"), (429, {}), (200, "<html>")])
def test_an_api_that_is_away_for_a_while_is_waited_for(api: Api, capsys: Capture, away: Answer):
    api.answers = [row("in_progress"), away, away, row("in_progress"), away, row("completed")]
    assert main(["task", "follow", "t"]) == 0
    said = capsys.readouterr().out
    # Once for each time it went away, although nobody sees a status line here.
    assert said.count("! waiting for the API: ") == 2
    assert "💰 $0.0000, 0 tokens, model unknown" in said


def test_not_for_ever(api: Api, capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "PATIENCE_S", 0.1)
    api.answers = [row("in_progress"), (503, "busy")]
    assert main(["task", "follow", "t"]) == 1
    assert "answered 503" in capsys.readouterr().err


@pytest.mark.parametrize("refusal", [(404, {"error": "gone"}), (401, {}), (403, {"error": "no"})])
def test_a_refusal_is_not_waited_out(api: Api, capsys: Capture, refusal: Answer):
    api.answers = [row("in_progress"), refusal]
    assert main(["task", "follow", "t"]) == 1
    assert f"answered {refusal[0]}" in capsys.readouterr().err


def test_an_api_that_goes_away_right_after_the_end_does_not_matter(api: Api, capsys: Capture):
    api.answers = [row("in_progress"), row("completed"), (503, "busy")]
    assert main(["task", "follow", "t"]) == 0
    assert "Done." in capsys.readouterr().out


def test_last_words_and_cost_are_waited_for_after_the_end(api: Api, capsys: Capture):
    api.late_by = 2
    api.answers = [row("in_progress"), row("completed")]
    assert main(["task", "follow", "t"]) == 0
    said = capsys.readouterr().out
    assert "│ last words" in said
    assert "💰" in said


def test_but_not_for_long(api: Api, capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "LAST_LINES_S", 0.1)
    api.late_by = 1_000_000
    api.answers = [row("in_progress"), row("completed")]
    assert main(["task", "follow", "t"]) == 0
    assert "💰" not in capsys.readouterr().out


def test_what_ended_long_ago_has_no_last_words(api: Api, capsys: Capture):
    api.late_by = 2
    api.answers = [row("failed")]
    assert main(["task", "follow", "t"]) == 1
    assert api.costs_asked == 1


# --- questions of agents
def asked(url: str, **more: Any) -> str:
    question = {"id": "q", "type": "approval", "label": "May I?", "required": True}
    body = {"title": "Allow Bash: `make`?", "questions": [question], "approvers": {"policy": "any"}}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx2.post(f"{url}/api/approval-requests", json={**body, **more}, headers=headers)
    assert answer.status_code == 201
    return str(answer.json()["approvalRequest"]["id"])


def test_questions_are_listed_and_answered_once(task: Task, url: str):
    first, second = asked(url), asked(url)
    code, said, _ = task("approvals", "--json")
    assert code == 0
    assert {first, second} <= {request["id"] for request in json.loads(said)}
    code, said, _ = task("approvals")
    assert "Allow Bash: `make`?" in said
    assert task("approve", first, "--note", "go on") == (0, f"approved {first}\n", "")
    code, said, _ = task("deny", second, "--json")
    assert (code, json.loads(said)["status"]) == (0, "rejected")
    code, said, _ = task("approvals", "--status", "approved", "--json")
    (found,) = [request for request in json.loads(said) if request["id"] == first]
    assert found["responses"] == {"q": {"approved": True, "comment": "go on"}}
    code, _, errors = task("deny", first)
    assert code == 1
    assert "already resolved" in errors
    code, _, errors = task("approve", UNKNOWN)
    assert code == 1
    assert "not found" in errors
    assert not {first, second} & {one["id"] for one in json.loads(task("approvals", "--json")[1])}


def test_a_question_is_closed_when_its_time_is_up(task: Task, url: str):
    late = asked(url, timeoutSeconds=1)

    def is_closed() -> bool:
        return late in task("approvals", "--status", "timeout")[1]

    until_blocking(is_closed)
    another = asked(url, timeoutSeconds=1)
    time.sleep(1.1)  # the swarm's clock has passed it, and nobody has looked
    for request in (late, another):
        code, _, errors = task("approve", request)
        assert code == 1
        assert "timeout" in errors
