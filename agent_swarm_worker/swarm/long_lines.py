"""A log line that is longer than the server, or something before it, takes.

The public server sets no limit (docs/api.md 1.4), but proxies do, mostly at a megabyte. The
whole line stays in the journal; the log gets its two ends, and a word on what is between them.
"""

from __future__ import annotations

import orjson

TOO_LARGE = 413
KEPT_AT_FRONT, KEPT_AT_END = 96 * 1024, 32 * 1024
"""Characters. Up to four times as many bytes, in JSON within JSON: well below a megabyte."""


def is_cuttable(line: str) -> bool:
    """True if the line is longer than what would be kept of it."""
    return len(line) > KEPT_AT_FRONT + KEPT_AT_END


def cut(line: str) -> str:
    """Return what is sent in the line's place, itself a line of JSON."""
    return orjson.dumps(
        {
            "type": "cut_line",
            "chars": len(line),
            "begins": line[:KEPT_AT_FRONT],
            "ends": line[-KEPT_AT_END:],
        }
    ).decode()
