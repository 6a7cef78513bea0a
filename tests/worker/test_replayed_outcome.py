"""A replayed journal yields the same result and cost as the session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from agent_swarm_worker.contract import Ending, ProviderResult, ProviderSessionConfig, Translator
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.records import replay
from agent_swarm_worker.providers.claude.adapter import ClaudeAdapter
from agent_swarm_worker.providers.codex.adapter import CodexAdapter
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.adapter import PiAdapter
from agent_swarm_worker.providers.subprocess.adapter import SubprocessAdapter
from agent_swarm_worker.sandboxes.local import LocalGuest
from agent_swarm_worker.worker.recovery.orphaned_session import NoTranslator, ReplayedOutcome

pytestmark = pytest.mark.anyio

PROVIDERS = Path(__file__).parents[1] / "providers"
CLAUDE, CODEX = PROVIDERS / "claude/streams", PROVIDERS / "codex/streams"


def make_config(folder: Path, **changed: Any) -> ProviderSessionConfig:
    env = {
        "HOME": str(folder),
        "ANTHROPIC_API_KEY": "sk-ant-0001",
        "OPENAI_API_KEY": "sk-0001",
        "HARNESS_COMMAND": "true",
    }
    return ProviderSessionConfig(
        **{
            "prompt": "",
            "agent_id": "agent-1",
            "task_id": "task-1",
            "session_uuid": str(uuid4()),
            "api_url": "http://swarm.test",
            "api_key": "swarm-api-key-0001",
            "guest": LocalGuest("session"),
            "cwd": folder,
            "log_file": folder / "journal.jsonl",
            "private_dir": folder,
            "env": env,
            "redactor": Scrubber(),
            **changed,
        }
    )


def journal_of(lines: list[bytes], config: ProviderSessionConfig) -> None:
    config.log_file.write_bytes(b"\n".join([b'{"type":"worker_metadata"}', *lines]) + b"\n")


async def tell(
    config: ProviderSessionConfig, translator: Translator
) -> tuple[ReplayedOutcome, int]:
    """Read the journal; return its last word, and how many events were news behind 60 bytes."""
    word, news = ReplayedOutcome(translator), list[object]()
    await replay(
        config.log_file,
        translator,
        word.on_event,
        redactor=config.redactor,
        reported_offset=60,
        unreported=news.append,
    )
    return word, len(news)


def lived(lines: list[bytes], translator: Translator, ending: Ending) -> ProviderResult:
    """What a session that was not interrupted would have made of these lines."""
    for line in lines:
        list(translator.feed(orjson.loads(line)))
    return translator.conclude(ending)


Make = Callable[[ProviderSessionConfig], Any]


@pytest.mark.parametrize(
    ("stream", "make"),
    [
        (CLAUDE / "hello.jsonl", ClaudeAdapter().translator),
        (CLAUDE / "bash.jsonl", ClaudeAdapter().translator),
        (CLAUDE / "error_429.jsonl", ClaudeAdapter().translator),
        (CLAUDE / "bash.jsonl", SubprocessAdapter().translator),
        (CODEX / "app-server_bash.jsonl", CodexAdapter().translator),
        (CODEX / "exec_bash.jsonl", CodexAdapter().translator),
        (CODEX / "app-server_error_429.jsonl", CodexAdapter().translator),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
async def test_an_end_that_was_reached_is_known_again(tmp_path: Path, stream: Path, make: Make):
    config, lines = make_config(tmp_path), stream.read_bytes().splitlines()
    journal_of(lines, config)
    word, news = await tell(config, await make(config))
    assert word.has_result
    assert news > 0
    expected = lived(lines, await make(config), Ending(exit_code=0))
    told = word.conclude()
    assert (told.is_error, told.output, told.error_category) == (
        expected.is_error,
        expected.output,
        expected.error_category,
    )
    assert told.cost == expected.cost


@pytest.mark.parametrize(
    ("stream", "make", "words"),
    [
        (CLAUDE / "bash.jsonl", ClaudeAdapter().translator, "result assistant tool_use success"),
        (CLAUDE / "bash.jsonl", SubprocessAdapter().translator, "result message system"),
        (CODEX / "app-server_bash.jsonl", CodexAdapter().translator, "completed thread status"),
        (CODEX / "exec_bash.jsonl", CodexAdapter().translator, "completed thread agent_message"),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
async def test_a_weak_secret_that_is_a_word_of_the_protocol_hides_no_end(
    tmp_path: Path, stream: Path, make: Make, words: str
):
    for word in words.split():
        config = make_config(tmp_path, redactor=Scrubber(Scrubber()))
        config.redactor.add("WEAK", word)
        lines = stream.read_bytes().splitlines()
        stored = [clean for clean, _ in config.redactor.json_lines(lines)]
        assert word.encode() not in b"".join(stored)
        journal_of(stored, config)
        told, _ = await tell(config, await make(config))
        assert told.has_result, word
        expected = lived(lines, await make(config), Ending(exit_code=0))
        assert told.conclude().cost == expected.cost
        assert told.conclude().output == config.redactor.text(expected.output or "")


@pytest.mark.parametrize(
    ("stream", "lines", "make"),
    [
        (CLAUDE / "bash.jsonl", -1, ClaudeAdapter().translator),
        (CLAUDE / "killed.jsonl", None, ClaudeAdapter().translator),
        (CODEX / "app-server_bash.jsonl", -1, CodexAdapter().translator),
        (CODEX / "exec_bash.jsonl", -1, CodexAdapter().translator),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
async def test_one_that_was_not_reached_is_none(
    tmp_path: Path, stream: Path, lines: int | None, make: Make
):
    config, kept = make_config(tmp_path), stream.read_bytes().splitlines()[:lines]
    journal_of(kept, config)
    word, _ = await tell(config, await make(config))
    assert not word.has_result
    assert word.conclude().is_error


async def test_a_turn_that_had_begun_after_the_result_is_no_end(tmp_path: Path):
    config = make_config(tmp_path)
    hello = (CLAUDE / "hello.jsonl").read_bytes().splitlines()
    more = next(line for line in hello if b'"type":"assistant"' in line)
    journal_of([*hello, more], config)
    word, _ = await tell(config, await ClaudeAdapter().translator(config))
    assert not word.has_result


async def test_words_and_complaints_are_unwrapped(tmp_path: Path):
    config = make_config(tmp_path)
    config = replace(config, env={**config.env, "HARNESS_OUTPUT": "text"})
    journal_of(
        [
            b'{"type":"stdout","content":"plain words"}',
            b'{"type":"stderr","content":"a complaint","timestamp":"2026-01-01T00:00:00Z"}',
            b'{"some":"json"}',
        ],
        config,
    )
    translator = await SubprocessAdapter().translator(config)
    await tell(config, translator)
    assert translator.conclude(Ending(exit_code=0)).output == 'plain words\n{"some":"json"}'


@pytest.mark.parametrize("is_over", [True, False])
async def test_pi_counts_what_is_on_record(tmp_path: Path, is_over: bool):
    pytest.importorskip("pydantic_ai")
    config = make_config(tmp_path, model="claude-sonnet-4-5")
    usage = Tokens(input=100, output=20, cache_read=5)
    records = [
        native.assistant_message("one", [], model="claude-sonnet-4-5", stop="stop", usage=usage),
        native.assistant_message("two", [], model="claude-sonnet-4-5", stop="stop", usage=usage),
    ]
    if is_over:
        records.append(native.end("stop", 1234, None))
    journal_of([orjson.dumps(record) for record in records], config)
    word, _ = await tell(config, await PiAdapter().translator(config))
    result = word.conclude()
    assert word.has_result is is_over
    assert (result.output, result.is_error) == ("two", not is_over)
    assert result.cost is not None
    assert (result.cost.input_tokens, result.cost.cache_read_tokens) == (200, 10)
    assert result.cost.total_cost_usd


THREAD = "01a00000-0000-7000-8000-000000000001"


def keep_record(home: Path, *counted: tuple[str, int]) -> None:
    """Write the CLI's own record of the thread: when it had read how many tokens."""
    folder = home / ".codex/sessions/2026/11/20"
    folder.mkdir(parents=True)
    lines = [
        orjson.dumps(
            {
                "timestamp": at,
                "type": "event_msg",
                "payload": {
                    "type": "token_count",
                    "info": {"total_token_usage": {"input_tokens": count}},
                },
            }
        )
        for at, count in counted
    ]
    record = folder / f"rollout-2026-11-20T00-00-00-{THREAD}.jsonl"
    record.write_bytes(b"\n".join(lines) + b"\n")


def resumed_journal(stream: str, config: ProviderSessionConfig, *, told_anew: bool = False) -> None:
    lines = (CODEX / f"{stream}.jsonl").read_bytes().splitlines()
    if told_anew:
        at = next(n for n, line in enumerate(lines) if line.startswith(b'{"id":3,'))
        lines[at] = lines[at].replace(b'"id":3', b'"id":4', 1)
        lines.insert(at, b'{"id":3,"result":{}}')
    begun = {"type": "worker_metadata", "timestamp": "2026-11-20T10:00:00.500Z", "resumes": THREAD}
    config.log_file.write_bytes(b"\n".join([orjson.dumps(begun), *lines]) + b"\n")


@pytest.mark.parametrize(
    ("stream", "told_anew"),
    [("app-server_hello", False), ("app-server_hello", True), ("exec_hello", False)],
)
async def test_a_resumed_codex_thread_costs_what_it_used_since(
    tmp_path: Path, stream: str, told_anew: bool
):
    config = make_config(tmp_path, resume_session_id=THREAD)
    resumed_journal(stream, config, told_anew=told_anew)
    keep_record(
        tmp_path,
        ("2026-11-20T09:00:00.000Z", 700),
        ("2026-11-20T10:00:00.400Z", 1500),
        ("2026-11-20T10:00:03.000Z", 4000),
    )
    word, news = await tell(config, await CodexAdapter().translator(config) or NoTranslator())
    assert (word.has_result, news > 0) == (True, True)
    result = word.conclude()
    assert not result.is_error
    assert result.output
    assert result.cost is not None
    assert result.cost.input_tokens == 2500


async def test_a_codex_thread_begun_in_the_place_of_a_lost_one_has_its_own_cost(tmp_path: Path):
    config = make_config(tmp_path, resume_session_id=THREAD.replace("1", "2"))
    resumed_journal("app-server_hello", config)
    word, _ = await tell(config, await CodexAdapter().translator(config) or NoTranslator())
    assert word.has_result
    assert (cost := word.conclude().cost) is not None
    assert cost.input_tokens == 4000


async def test_a_resumed_codex_thread_without_a_beginning_is_not_counted(tmp_path: Path):
    config = make_config(tmp_path, resume_session_id=THREAD)
    assert await CodexAdapter().translator(config) is None


async def test_nonsense_in_a_journal_is_passed_over(tmp_path: Path):
    config = make_config(tmp_path)
    hello = (CLAUDE / "hello.jsonl").read_bytes().splitlines()
    journal_of([b"\xff\xfe", b"[" * 2000, b"null", *hello, b'{"type":"resu'], config)
    word, _ = await tell(config, await ClaudeAdapter().translator(config))
    assert word.has_result
    assert not NoTranslator().feed({})
