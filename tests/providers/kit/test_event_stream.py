"""What harnesses whose events end with a final one share: faulty events, floods, the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from session_config import session_config

from agent_swarm_worker.contract import Ending, Message, ReplayableAdapter, Result, SessionInit
from agent_swarm_worker.providers.amp.translate import AmpTranslator
from agent_swarm_worker.providers.cursor.translate import CursorTranslator
from agent_swarm_worker.providers.gemini.translate import GeminiTranslator
from agent_swarm_worker.providers.kit import event_stream
from agent_swarm_worker.providers.kit.event_stream import EventTranslator
from agent_swarm_worker.providers.pi_cli.conversation import PiConversation
from agent_swarm_worker.providers.registry import create_provider

PROVIDERS = Path(__file__).parents[1]
TRANSLATORS: dict[str, type[EventTranslator]] = {
    "amp": AmpTranslator,
    "cursor": CursorTranslator,
    "gemini": GeminiTranslator,
    "pi_cli": PiConversation,
}
ODD: list[Any] = [None, True, -1, 1e400, "", [], {}, [None], {"a": [1]}, "x" * 1000, 2**70]

every_harness = pytest.mark.parametrize("harness", TRANSLATORS)


def recorded(harness: str) -> Iterator[dict[str, Any]]:
    for path in sorted((PROVIDERS / harness / "streams").glob("*.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())


def spoilt(value: Any, odd: Any) -> Iterator[Any]:
    """Yield the value with each of its parts in turn replaced by `odd`, at any depth."""
    yield odd
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            for part in spoilt(value[key], odd):
                copy = value.copy()
                copy[key] = part
                yield copy


@pytest.mark.long
@every_harness
def test_no_event_of_another_shape_breaks_the_translation(harness: str):
    kinds = {
        json.dumps([event.get("type"), event.get("subtype")]): event for event in recorded(harness)
    }
    assert len(kinds) >= 4
    for event in kinds.values():
        for odd in ODD:
            for faulty in spoilt(event, odd):
                translator = TRANSLATORS[harness](session_config())
                list(translator.feed(faulty))
                translator.conclude(Ending(exit_code=0))


@every_harness
def test_an_exit_without_a_final_event_is_no_success(harness: str):
    make: Callable[..., EventTranslator] = TRANSLATORS[harness]
    translator = make(session_config())
    for event in recorded(harness):
        if event.get("type") != translator.final_type:
            translator.feed(event)
    assert not translator.is_final
    assert translator.conclude(Ending(exit_code=0)).is_error


@every_harness
def test_a_run_that_asked_no_model_is_no_success(harness: str):
    translator = TRANSLATORS[harness](session_config())
    end = {"type": translator.final_type, "status": "success", "subtype": "success"}
    (result,) = translator.feed({**end, "is_error": False})
    assert isinstance(result, Result)
    assert result.error_category == "empty_run"


@pytest.mark.anyio
@every_harness
async def test_a_journal_is_replayed_to_the_same_result(harness: str):
    adapter = create_provider(harness.replace("_", "-"))
    assert isinstance(adapter, ReplayableAdapter)
    translator = await adapter.translator(session_config())
    assert translator is not None
    (journal,) = (PROVIDERS / harness / "streams").glob("*hello.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    events = [event for line in lines for event in translator.feed(line)]
    # The worker was killed, and the program with it, after its final event.
    result = translator.conclude(Ending(exit_code=137))
    assert (result.is_error, result.output) == (False, "Hello from the model.")
    assert [event.session_id for event in events if isinstance(event, SessionInit)] == [
        result.session_id
    ]
    assert result.cost is not None


def test_a_flood_of_pieces_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_stream, "MAX_MESSAGE_CHARS", 10)
    translator = GeminiTranslator(session_config())
    piece = {"type": "message", "role": "assistant", "content": "four"}
    for _ in range(5):
        translator.feed(piece)
    (message, *_) = translator.feed({"type": "init", "session_id": "s"})
    assert message == Message("assistant", "fourfour")
