"""Turn a whole answer in the place of a stream into the events of its API: Messages, Responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.kit.native import items, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator


def whole_answer_events(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events in which an answer would have been streamed; none if it is no answer."""
    if answer.get("type") == "message":
        yield from _message_events(answer)
    elif isinstance(answer.get("output"), list) and not answer.get("error"):
        for number, event in enumerate(_response_events(answer)):
            yield {**event, "sequence_number": number}


def _message_events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events in which Anthropic's API streams a message."""
    usage = {"input_tokens": 0, "output_tokens": 0, **mapping(message.get("usage"))}
    begin = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
    yield {"type": "message_start", "message": begin}
    for index, block in enumerate(map(mapping, items(message.get("content")))):
        empty, delta = block, None
        if block.get("type") == "text":
            empty = {**block, "text": ""}
            delta = {"type": "text_delta", "text": block.get("text")}
        elif block.get("type") == "tool_use":
            empty = {**block, "input": {}}
            said = json.dumps(block.get("input") or {})
            delta = {"type": "input_json_delta", "partial_json": said}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        if delta:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": message.get("stop_reason") or "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def _response_events(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events in which the Responses API streams a response."""
    outputs = [
        {**item, "id": item.get("id") or f"item_{index}"}
        for index, item in enumerate(map(mapping, answer["output"]))
    ]
    status = answer.get("status")
    end = status if status in {"incomplete", "failed"} else "completed"
    answer = {"id": "response", "object": "response", "created_at": 0, "model": "", **answer}
    answer |= {"output": outputs, "status": end}
    yield {"type": "response.created", "response": {**answer, "status": "in_progress"}}
    for index, item in enumerate(outputs):
        place = {"output_index": index}
        kind = item.get("type")
        if kind == "function_call" and not isinstance(item.get("arguments"), str):
            item["arguments"] = json.dumps(item.get("arguments") or {})
        empty: dict[str, Any] = {}
        if kind == "message":
            empty = {"content": []}
        elif kind == "function_call":
            empty = {"arguments": ""}
        yield {"type": "response.output_item.added", "item": {**item, **empty}, **place}
        if kind == "message":
            yield from _content_events(item, place)
        yield {"type": "response.output_item.done", "item": item, **place}
    yield {"type": f"response.{end}", "response": answer}


def _content_events(item: dict[str, Any], place: dict[str, int]) -> Iterator[dict[str, Any]]:
    content = item.get("content")
    parts = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
    for number, part in enumerate(map(mapping, items(parts))):
        where = {**place, "item_id": item["id"], "content_index": number}
        kind = "refusal" if part.get("type") == "refusal" else "output_text"
        name = "refusal" if kind == "refusal" else "text"
        said = str(part.get(name) or "")
        yield {"type": f"response.{kind}.delta", "delta": said, "logprobs": [], **where}
        yield {"type": f"response.{kind}.done", name: said, "logprobs": [], **where}
