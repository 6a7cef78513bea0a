"""The upload of log lines as a row of the outbox: a range of a file, or text that is in no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.journal.numbering import number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_swarm_worker.contract.sink import ByteRange


def upload_args(
    *, task_id: str | None, session_uuid: str, number: int, harness: str
) -> dict[str, Any]:
    """Return what every upload says; `number` comes from `numbering`."""
    return {
        "task_id": task_id,
        "session_uuid": session_uuid,
        "iteration": number,
        "cli": harness,
    }


def range_args(path: Path, lines: ByteRange) -> dict[str, Any]:
    """Return where an upload's lines are."""
    return {"path": str(path), "start": lines.start, "end": lines.end}


def text_args(lines: bytes) -> dict[str, Any]:
    """Return lines that are in no file."""
    return {"text": lines.decode("utf-8", "replace")}


def joined(args: Mapping[str, Any], following: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return two uploads as one; ``None`` if they are not neighbouring ranges of one file."""
    try:
        continued = {
            **args,
            "start": args["end"],
            "end": following["end"],
            "iteration": number(args["iteration"], args["end"] - args["start"]),
        }
    except (KeyError, TypeError):
        return None
    return {**args, "end": following["end"]} if continued == following else None
