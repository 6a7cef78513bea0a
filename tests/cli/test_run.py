"""Options of ``swarm-worker run``; the daemon itself is tested elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent_swarm_worker.cli.app import main
from agent_swarm_worker.errors import StateLocked
from agent_swarm_worker.worker import daemon
from agent_swarm_worker.worker.boot.parts import WorkerOptions

Capture = pytest.CaptureFixture[str]


class Started:
    """Stands for the daemon: notes how it was started."""

    env: Mapping[str, str]
    options: WorkerOptions
    fails_with: BaseException | None = None

    def __init__(self, env: Mapping[str, str], options: WorkerOptions, **_: object) -> None:
        Started.env, Started.options = env, options

    async def run(self) -> None:
        if Started.fails_with is not None:
            raise Started.fails_with


@pytest.fixture(autouse=True)
def no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "Daemon", Started)
    monkeypatch.setattr(Started, "fails_with", None)


@pytest.mark.parametrize(
    ("words", "role", "expected"),
    [
        (["run"], None, "worker"),
        (["run"], "lead", "lead"),
        (["run", "--role", "worker"], "lead", "worker"),
        (["run", "--role", "coder"], "lead", "coder"),
        (["run"], "tester", "tester"),
        (["worker"], "lead", "worker"),
        (["worker"], "coder", "coder"),
        (["lead"], "coder", "lead"),
    ],
)
def test_the_role(env: dict[str, str], words: list[str], role: str | None, expected: str):
    env.update({"AGENT_ROLE": role} if role else {})
    assert main(words) == 0
    assert Started.options.role == expected


def test_the_harness_gets_what_follows_two_dashes(env: dict[str, str]):
    assert main(["run", "-m", "look around", "--yolo", "--", "--flag", "--", "-x"]) == 0
    assert Started.options.additional_args == ("--flag", "--", "-x")
    assert Started.options.default_prompt == "look around"
    assert Started.env["YOLO"] == "true"
    assert main(["run"]) == 0
    assert Started.options.additional_args == ()
    assert "YOLO" not in Started.env


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        # None: from the settings, which configuration rows of the swarm may change.
        ([], {}, None),
        ([], {"SYSTEM_PROMPT": "from the variable"}, None),
        ([], {"SYSTEM_PROMPT_FILE": "there"}, None),
        (["--system-prompt", "from the flag"], {"SYSTEM_PROMPT": "no"}, "from the flag"),
        (["--system-prompt", ""], {"SYSTEM_PROMPT": "no"}, ""),
        (["--system-prompt", "x", "--system-prompt-file", "nowhere"], {}, "x"),
        (["--system-prompt-file", "there"], {}, "from a file"),
        (["--system-prompt-file", "there"], {"SYSTEM_PROMPT_FILE": "nowhere"}, "from a file"),
        (["--system-prompt-file", "there"], {"SYSTEM_PROMPT": "from the variable"}, None),
    ],
)
def test_the_operators_prompt(
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variables: dict[str, str],
    expected: str | None,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("from a file")
    env.update(variables)
    assert main(["run", *words]) == 0
    assert Started.options.operator_prompt == expected


@pytest.mark.parametrize(
    ("words", "variables"),
    [(["--system-prompt-file", "nowhere"], {}), ([], {"SYSTEM_PROMPT_FILE": "nowhere"})],
)
def test_a_prompt_file_that_cannot_be_read_ends_the_start(
    env: dict[str, str], capsys: Capture, words: list[str], variables: dict[str, str]
):
    env.update(variables)
    assert main(["run", *words]) == 78
    assert (
        capsys.readouterr().err == "swarm-worker: cannot read nowhere: No such file or directory\n"
    )


def test_the_first_of_several_failures_is_told(env: dict[str, str], capsys: Capture):
    first = StateLocked(Path("/state"), 7)
    Started.fails_with = ExceptionGroup("all", [ExceptionGroup("some", [first]), ValueError()])
    assert main(["run"]) == 1
    message, advice = capsys.readouterr().err.splitlines()[-2:]  # after log lines
    assert message == "swarm-worker: state directory /state is in use by process 7"
    assert advice.startswith("  give each worker ")


def test_an_interruption_is_130(env: dict[str, str]):
    Started.fails_with = KeyboardInterrupt()
    assert main(["run"]) == 130


def test_a_bug_is_shown_in_full(env: dict[str, str]):
    Started.fails_with = ExceptionGroup("all", [ZeroDivisionError()])
    with pytest.raises(ZeroDivisionError):
        main(["run"])
