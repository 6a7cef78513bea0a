"""Classify a session that hangs by the last line of its output.

A limit shows only that output stopped. The last line often shows why: a question that nobody
answers, or a network that does not respond. Each cause is a category of its own, with a hint
whether to retry, for people and for the leads that decide on it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import orjson

from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.text import plain, shorten_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import HangTexts


class Hang(StrEnum):
    """The cause of a hang. The values are categories on the wire."""

    TIMEOUT = "timeout"
    """The session produced output until its time was up."""
    STALLED = "stalled"
    """The output stopped, and nothing shows why."""
    AWAITING_INPUT = "awaiting_input"
    """The harness asked a question and waits for the answer."""
    NETWORK = ErrorClass.NETWORK.value
    """A network or a service does not answer; also the category of a harness that gave up on it."""


RETRY_HINTS: Final = {
    Hang.TIMEOUT: "it would begin anew, so give it more time (tag timeout:2h) or less to do",
    Hang.STALLED: "worth one; if its work is that quiet, give it more time (tag silence:1h)",
    Hang.AWAITING_INPUT: "it would ask again, and nobody answers: permit beforehand what it asks",
    Hang.NETWORK: "worth one once the network, or the service, answers again",
}

MAX_QUOTED_CHARS: Final = 200

_CHOICE = re.compile(
    r"[\[(](?:y/n|yes/no|y/n/a|a/b|y|n)(?:/[a-z?]{1,8}){0,3}[\])]"
    r"|\bpress (?:any key|enter|return)\b"
    r"|\b(?:type|enter) (?:['\"`]?(?:y|yes|your)\b)"
    r"|\bdo you want to (?:proceed|continue|allow)\b"
    r"|\bwaiting for (?:your |user )?(?:input|approval|confirmation|permission)\b"
    r"|\bpermission\b.{0,80}\basking\b",
    re.IGNORECASE,
)
"""A question, also in a complete line."""
_CUT_OFF = re.compile(r"[?:>$#\u276f] +$|\bpass(?:word|phrase)\b.{0,80}:\s*$", re.IGNORECASE)
"""A question if no line end follows: a prompt leaves a blank, and the cursor behind it."""
_WAITS_FOR_NETWORK = re.compile(r"\bwaiting for (?:the )?network\b", re.IGNORECASE)
_ASKING_EVENTS: Final = re.compile(
    r"(?:request_?approval|approval_?request|permission[._/](?:request|asked|ask)\w*"
    r"|request_?permission|request_?user_?input|input_?required|elicitation|can_use_tool)",
    re.IGNORECASE,
)
"""Names of questions in the protocols of harnesses."""
_EVENT_NAMES: Final = ("type", "subtype", "method", "event", "kind")


def classify_hang(
    hang: Hang, line: str, *, is_cut_off: bool, texts: HangTexts | None = None
) -> Hang:
    """Return the cause of a hang as far as the last line shows it, else `hang`, the limit hit.

    `line` is as the journal has it; `is_cut_off` if it had no line end, and more text may follow.
    """
    if hang is not Hang.STALLED and hang is not Hang.TIMEOUT:
        return hang
    event, text = _read(line)
    first, last = _first_line(text), _last_line(text)
    if event:
        asks = _ASKING_EVENTS.search(event) is not None
    else:
        # In a line without an end, the output of its termination can follow the question.
        asks = _CHOICE.search(last) is not None or (
            is_cut_off and bool(_CHOICE.search(first) or _CUT_OFF.search(last))
        )
    if asks or (texts and _matches(texts.asking, f"{event} {last}")):
        return Hang.AWAITING_INPUT
    if texts and _matches(texts.network, f"{event} {last}"):
        return Hang.NETWORK
    is_network = classify_error(last) is ErrorClass.NETWORK
    if _WAITS_FOR_NETWORK.search(last) or (is_network and hang is Hang.STALLED):
        return Hang.NETWORK
    return hang


def quote_line(line: str, *, is_cut_off: bool = False) -> str:
    """Return a line of the journal for people: its text, or the name of its event."""
    event, text = _read(line)
    quoted = f"{event} {_first_line(text) if is_cut_off else _last_line(text)}"
    return shorten_start(" ".join(quoted.split()), MAX_QUOTED_CHARS)


def with_retry_hint(reason: str, category: str | None) -> str:
    """Return a failure's reason, with a retry hint if the category is a `Hang`."""
    try:
        return f"{reason}\nRetry: {RETRY_HINTS[Hang(category or '')]}."
    except ValueError:
        return reason


def _matches(patterns: Sequence[str], text: str) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def _read(line: str) -> tuple[str, str]:
    """Return the name of the event in a line, empty for plain text, and its text."""
    try:
        native = orjson.loads(line)
    except orjson.JSONDecodeError:
        native = line
    if not isinstance(native, dict):
        return "", plain(line)
    if native.get("type") in {"stdout", "stderr"}:  # the journal's form of plain text
        return "", plain(str(native.get("content")))
    nested = native.get("request")
    objects = [native, nested] if isinstance(nested, dict) else [native]
    names = [each.get(name) for each in objects for name in _EVENT_NAMES]
    is_error = native.get("type") == "error"
    event = " ".join(name for name in names if isinstance(name, str))
    return event or "event", plain(str(native.get("message"))) if is_error else ""


def _first_line(text: str) -> str:
    return text[:2000].partition("\n")[0]


def _last_line(text: str) -> str:
    lines = text[-2000:].splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")
