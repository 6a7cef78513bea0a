"""The ways in which a session hangs, told apart by what it said last.

A limit only shows *that* nothing more comes. What came before often shows why: a question that
nobody is there to answer, or a network that is waited for. Each way is a category of its own, with
a hint on whether another try can help, for people and for the leads that decide on one.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import orjson

from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import HangTexts


class Hang(StrEnum):
    """Every way. The values are categories on the wire."""

    TIMEOUT = "timeout"
    """It was busy to the end of its time."""
    STALLED = "stalled"
    """It fell silent, and nothing shows why."""
    AWAITING_INPUT = "awaiting_input"
    """It asked something and waits for the answer."""
    NETWORK = ErrorClass.NETWORK.value
    """It waits for a network or a service that does not answer; one that gives up fails so too."""


RETRY_HINTS: Final = {
    Hang.TIMEOUT: "it would begin anew, so give it more time (tag timeout:2h) or less to do",
    Hang.STALLED: "worth one; if its work is that quiet, give it more time (tag silence:1h)",
    Hang.AWAITING_INPUT: "it would ask again, and nobody answers: permit beforehand what it asks",
    Hang.NETWORK: "worth one once the network, or the service, answers again",
}

MAX_SAID_CHARS: Final = 200
"""How much of what a session said last is quoted."""

_CHOICE = re.compile(
    r"[\[(](?:y/n|yes/no|y/n/a|a/b|y|n)(?:/[a-z?]{1,8}){0,3}[\])]"
    r"|\bpress (?:any key|enter|return)\b"
    r"|\b(?:type|enter) (?:['\"`]?(?:y|yes|your)\b)"
    r"|\bdo you want to (?:proceed|continue|allow)\b"
    r"|\bwaiting for (?:your |user )?(?:input|approval|confirmation|permission)\b"
    r"|\bpermission\b.{0,80}\basking\b",
    re.IGNORECASE,
)
"""What is a question even as a whole line."""
_CUT_OFF = re.compile(r"[?:>$#\u276f] +$|\bpass(?:word|phrase)\b.{0,80}:\s*$", re.IGNORECASE)
"""What is one if no line end follows: a prompt leaves a blank, and the cursor behind it."""
_WAITS_FOR_NETWORK = re.compile(r"\bwaiting for (?:the )?network\b", re.IGNORECASE)
_ASKING_EVENTS: Final = re.compile(
    r"(?:request_?approval|approval_?request|permission[._/](?:request|asked|ask)\w*"
    r"|request_?permission|request_?user_?input|input_?required|elicitation|can_use_tool)",
    re.IGNORECASE,
)
"""How the protocols of harnesses call a question."""
_EVENT_NAMES: Final = ("type", "subtype", "method", "event", "kind")


def why_it_hangs(
    hang: Hang, said: str, *, is_cut_off: bool, texts: HangTexts | None = None
) -> Hang:
    """Return the way in which a session hangs, as exactly as its last words show it.

    Args:
        hang: which limit it hit.
        said: its last line, of either stream, as the journal has it.
        is_cut_off: that line had no end; others may follow.
        texts: what this harness says when it hangs.
    """
    if hang is not Hang.STALLED and hang is not Hang.TIMEOUT:
        return hang
    event, text = _read(said)
    first, words = _first_line(text), _last_line(text)
    if event:
        asks = _ASKING_EVENTS.search(event) is not None
    else:
        # Behind a question without an end stands what was said when it was ended for it.
        asks = _CHOICE.search(words) is not None or (
            is_cut_off and bool(_CHOICE.search(first) or _CUT_OFF.search(words))
        )
    if asks or (texts and _says(texts.asking, f"{event} {words}")):
        return Hang.AWAITING_INPUT
    if texts and _says(texts.network, f"{event} {words}"):
        return Hang.NETWORK
    is_network = classify_error(words) is ErrorClass.NETWORK
    if _WAITS_FOR_NETWORK.search(words) or (is_network and hang is Hang.STALLED):
        return Hang.NETWORK
    return hang


def _says(patterns: Sequence[str], words: str) -> bool:
    return any(re.search(pattern, words, re.IGNORECASE) for pattern in patterns)


def excerpt(said: str, *, is_cut_off: bool = False) -> str:
    """Return a last line as people can read it: words, or which event it was."""
    event, text = _read(said)
    line = _first_line(text) if is_cut_off else _last_line(text)
    words = " ".join(f"{event} {line}".split())
    return words if len(words) <= MAX_SAID_CHARS else "…" + words[1 - MAX_SAID_CHARS :]


def with_hint(reason: str, category: str | None) -> str:
    """Return a failure's reason with what is to be thought of a retry, where that is known."""
    try:
        return f"{reason}\nRetry: {RETRY_HINTS[Hang(category or '')]}."
    except ValueError:
        return reason


def _read(said: str) -> tuple[str, str]:
    """Return the name of an event, empty for plain words, and the words in it."""
    try:
        native = orjson.loads(said)
    except orjson.JSONDecodeError:
        native = said
    if not isinstance(native, dict):
        return "", said
    if native.get("type") in {"stdout", "stderr"}:  # how the journal wraps plain words
        return "", str(native.get("content"))
    nested = native.get("request")
    places = [native, nested] if isinstance(nested, dict) else [native]
    names = [place.get(name) for place in places for name in _EVENT_NAMES]
    is_error = native.get("type") == "error"
    event = " ".join(name for name in names if isinstance(name, str))
    return event or "event", str(native.get("message")) if is_error else ""


def _first_line(text: str) -> str:
    return text[:2000].partition("\n")[0]


def _last_line(text: str) -> str:
    lines = text[-2000:].splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")
