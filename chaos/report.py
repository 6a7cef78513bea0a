"""Rows of the result and their table; searching files for a secret."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

SHOWN = 6


@dataclass(slots=True)
class Row:
    """One promise: how much was looked at, what is wrong, and what is wrong but stated."""

    name: str
    counted: int = 0
    wrong: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    """Differences of a kind that is documented, so that they do not fail the run."""


def table(rows: list[Row]) -> str:
    """Return the ledger as text."""
    lines = [f"{'':3}{'promise':44}{'counted':>9}{'stated':>8}{'wrong':>7}"]
    for row in rows:
        sign = "✘" if row.wrong else "✔"
        lines.append(
            f"{sign:3}{row.name:44}{row.counted:>9}{len(row.stated):>8}{len(row.wrong):>7}"
        )
    for row in rows:
        for word, texts in (("wrong", row.wrong), ("stated", row.stated)):
            lines += [f"   {word}: {row.name}: {text}" for text in texts[:SHOWN]]
            if len(texts) > SHOWN:
                lines.append(f"   {word}: {row.name}: … and {len(texts) - SHOWN} more")
    return "\n".join(lines)


def find_secret(secret: str, files: Iterable[Path]) -> tuple[list[str], int]:
    """Search files for a secret, as it is and as it travels.

    Returns:
        where it was found, and how many bytes were searched.
    """
    raw = secret.encode()
    forms = {raw, base64.b64encode(raw)[:-4], quote(secret, safe="").encode(), raw.hex().encode()}
    found, searched = [], 0
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            continue
        searched += len(content)
        found += [f"{file.name}: {content.count(form)} times" for form in forms if form in content]
    return found, searched
