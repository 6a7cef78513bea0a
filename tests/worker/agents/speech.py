"""Speaks as Claude Code does with ``--output-format stream-json``."""

import json
import sys
from contextlib import contextmanager

USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 3,
    "cache_creation_input_tokens": 2,
}
MODEL_USAGE = {
    "inputTokens": 10,
    "outputTokens": 5,
    "cacheReadInputTokens": 3,
    "cacheCreationInputTokens": 2,
    "costUSD": 0.25,
    "contextWindow": 1000,
}


_speaker = [None]


@contextmanager
def speaks_as(call_id):
    """Print the messages of the subagent that this call started."""
    before, _speaker[0] = _speaker[0], call_id
    yield
    _speaker[0] = before


def say(**event):
    print(json.dumps(event), flush=True)


def begin(session_id="s-1"):
    say(type="system", subtype="init", session_id=session_id, model="m-1", tools=[])


def assistant(*content):
    message = {"role": "assistant", "model": "m-1", "content": list(content), "usage": USAGE}
    say(type="assistant", session_id="s-1", parent_tool_use_id=_speaker[0], message=message)


def words(text):
    assistant({"type": "text", "text": text})


def call(call_id, name, **inputs):
    assistant({"type": "tool_use", "id": call_id, "name": name, "input": inputs})


def answer(call_id, content):
    result = {"type": "tool_result", "tool_use_id": call_id, "content": content}
    message = {"role": "user", "content": [result]}
    say(type="user", session_id="s-1", parent_tool_use_id=_speaker[0], message=message)


def end(text, **more):
    event = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": text,
        "session_id": "s-1",
        "num_turns": 2,
        "duration_ms": 12,
        "total_cost_usd": 0.25,
        "usage": USAGE,
        "modelUsage": {"m-1": MODEL_USAGE},
    }
    say(**(event | more))


def prompt():
    return sys.stdin.buffer.read().decode("utf-8", "replace")
