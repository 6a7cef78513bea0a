"""The launch of claude: arguments, environment, files and standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from claude_config import make_config

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.claude.effort import applied_effort, effort_env
from agent_swarm_worker.providers.claude.launch import claude_launch
from agent_swarm_worker.providers.claude.spec import SPEC, ClaudeOptions

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.providers.kit.launch import Launch

SESSION = "11111111-1111-4111-8111-111111111111"


def launched(folder: Path, *, mcp: bytes | None = None, **changed: Any) -> Launch:
    return claude_launch(make_config(folder, **changed), mcp_config=mcp)


def test_the_whole_command_line(tmp_path: Path) -> None:
    launch = launched(
        tmp_path,
        resume_session_id=SESSION,
        mcp=b"{}",
        model="sonnet",
        system_prompt="You are one of many.",
        additional_args=("--max-turns", "5"),
    )
    assert launch.argv == (
        "claude",
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--dangerously-skip-permissions",
        "--model",
        "sonnet",
        "--append-system-prompt-file",
        str(tmp_path / "private/system-prompt.md"),
        "--mcp-config",
        str(tmp_path / "private/mcp.json"),
        "--strict-mcp-config",
        f"--resume={SESSION}",
        "--max-turns",
        "5",
    )
    assert launch.cwd == tmp_path / "work"
    assert [file.content for file in launch.files] == [b"You are one of many.", b"{}"]


def test_what_is_not_given_is_not_passed(tmp_path: Path) -> None:
    launch = launched(tmp_path)
    assert launch.argv[-2:] == ("--model", "opus")
    assert launch.files == ()


@pytest.mark.parametrize("prompt", ["--help", "-x", "/compact it", "a\0b", "x" * 2**20, "é😀"])
def test_a_prompt_goes_to_standard_input_as_it_is(tmp_path: Path, prompt: str) -> None:
    launch = launched(tmp_path, prompt=prompt)
    assert launch.stdin == prompt.encode()
    assert launch.argv == launched(tmp_path, prompt="another").argv


def test_half_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert launched(tmp_path, prompt="a\ud83db").stdin == b"a?b"
    assert launched(tmp_path, system_prompt="\ud83d").files[0].content == b"?"


def test_no_secret_and_no_prompt_is_in_the_arguments(tmp_path: Path) -> None:
    launch = launched(tmp_path, mcp=b"swarm-api-key-0001", system_prompt="be secretive")
    for word in launch.argv:
        for hidden in ("swarm-api-key-0001", "sk-ant-0001", "be secretive", "do it"):
            assert hidden not in word


def test_an_id_cannot_become_an_option(tmp_path: Path) -> None:
    assert launched(tmp_path, resume_session_id="--help").argv[-1] == "--resume=--help"


def test_a_fork_leaves_the_session_as_it_is(tmp_path: Path) -> None:
    argv = launched(tmp_path, resume_session_id=SESSION, forks=True).argv
    assert argv[-2:] == (f"--resume={SESSION}", "--fork-session")
    assert "--fork-session" not in launched(tmp_path, resume_session_id=SESSION).argv


@pytest.mark.parametrize(
    ("binary", "words"),
    [
        (None, ("claude",)),
        ("  ", ("claude",)),
        ("/opt/cli tools/claude", ("/opt/cli", "tools/claude")),
        ("'/opt/cli tools/claude'", ("/opt/cli tools/claude",)),
        ("nice -n 5 claude --debug", ("nice", "-n", "5", "claude", "--debug")),
    ],
)
def test_the_binary_may_bring_words_of_its_own(binary: str | None, words: tuple[str, ...]) -> None:
    assert ClaudeOptions.load({} if binary is None else {"CLAUDE_BINARY": binary}).program == words


def test_a_binary_with_an_open_quote_is_refused() -> None:
    with pytest.raises(BadSetting, match="CLAUDE_BINARY"):
        ClaudeOptions.load({"CLAUDE_BINARY": "'claude"})


# --- environment


def env_of(
    folder: Path, env: dict[str, str], *, is_root: bool = False, **changed: Any
) -> dict[str, str]:
    config = make_config(folder, env=env, **changed)
    return dict(claude_launch(config, mcp_config=None, is_root=is_root).env)


def test_the_environment_is_the_given_one_and_the_switches(tmp_path: Path) -> None:
    env = env_of(tmp_path, {"PATH": "/bin", "DISABLE_TELEMETRY": "0"})
    assert env == {
        "PATH": "/bin",
        "ENABLE_PROMPT_CACHING_1H": "1",
        "CLAUDE_CODE_DISABLE_FILE_CHECKPOINTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_BUG_COMMAND": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_FEEDBACK_COMMAND": "1",
        "DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "ENABLE_TOOL_SEARCH": "true",
        "AGENT_SWARM_TASK_ID": "task-1",
        "AGENT_SWARM_AGENT_ID": "agent-1",
    }


def test_the_operator_decides_about_the_cache(tmp_path: Path) -> None:
    assert env_of(tmp_path, {"ENABLE_PROMPT_CACHING_1H": "0"})["ENABLE_PROMPT_CACHING_1H"] == "0"


def test_root_needs_a_word_of_its_own(tmp_path: Path) -> None:
    assert env_of(tmp_path, {}, is_root=True)["IS_SANDBOX"] == "1"
    assert "IS_SANDBOX" not in env_of(tmp_path, {})


def test_of_two_credentials_the_one_that_is_counted_is_used(tmp_path: Path) -> None:
    both = {"CLAUDE_CODE_OAUTH_TOKEN": "t", "ANTHROPIC_API_KEY": "k"}
    env = env_of(tmp_path, both)
    assert env["CLAUDE_CODE_OAUTH_TOKEN"] == "t"
    assert "ANTHROPIC_API_KEY" not in env
    assert env_of(tmp_path, {**both, "CLAUDE_CODE_OAUTH_TOKEN": " "})["ANTHROPIC_API_KEY"] == "k"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (None, {}),
        ("off", {"MAX_THINKING_TOKENS": "0"}),
        ("low", {"CLAUDE_CODE_EFFORT_LEVEL": "low"}),
        ("max", {"CLAUDE_CODE_EFFORT_LEVEL": "max"}),
    ],
)
def test_effort_is_asked_for_whatever_the_models_name(
    tmp_path: Path, level: str | None, expected: dict[str, str]
) -> None:
    assert effort_env(level) == expected
    for model in ("", "opus", "claude-haiku-4-5"):
        assert expected.items() <= env_of(tmp_path, {}, model=model, reasoning_effort=level).items()


@pytest.mark.parametrize(
    ("model", "asked", "applied"),
    [
        ("claude-opus-5-5", "max", "max"),
        ("claude-opus-5-5", "off", None),
        ("claude-fable-5", "off", None),
        ("claude-opus-4-8", "off", "off"),
        ("claude-opus-4-7", "xhigh", "xhigh"),
        ("claude-sonnet-4-6", "xhigh", "high"),
        ("claude-sonnet-4-6", "max", "max"),
        ("claude-opus-4-5-20251101", "max", "high"),
        ("claude-sonnet-4-5", "low", None),
        ("claude-haiku-4-5-20251001", "high", None),
        ("claude-3-5-haiku-20241022", "high", None),
        ("us.anthropic.claude-opus-4-8-v1:0", "max", "max"),
        ("gpt-9", "high", "high"),
        ("claude-opus-5-5", None, None),
        ("", "high", None),
    ],
)
def test_the_effort_a_model_really_takes(
    model: str, asked: str | None, applied: str | None
) -> None:
    assert applied_effort(model, asked) == applied


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("claude-opus-5-5", 1_000_000),
        ("claude-haiku-5-5", 1_000_000),
        ("claude-opus-4-6", 200_000),
        ("claude-opus-4-6[1m]", 1_000_000),
        ("claude-3-5-haiku-20241022", 200_000),
        ("claude-opus-4-20250514", 200_000),
        ("gpt-9", None),
        ("", None),
    ],
)
def test_the_first_guess_at_a_context_window(model: str, window: int | None) -> None:
    assert context_window(model, SPEC.models) == window
