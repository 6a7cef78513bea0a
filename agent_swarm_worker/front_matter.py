"""Read the front matter of a ``SKILL.md``: YAML between two lines of dashes."""

from __future__ import annotations

import re

MAX_CHARS = 20_000
"""A longer one is not read."""
_MAX_ENTRIES = 100
_BLOCK = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE
)
_ENTRY_START = re.compile(r"^(?=[^\s#-])", re.MULTILINE)


def front_matter(text: str) -> dict[str, str]:
    """Return the entries as texts on one line, lists joined by commas; empty if there are none.

    Where the block is no YAML, as with a colon in a plain text, each entry is read by itself, and
    one that is no YAML as it stands.
    """
    found = _BLOCK.match(text)
    if found is None or len(found[1]) > MAX_CHARS:
        return {}
    entries = _read(found[1])
    if entries is not None:
        return entries
    entries = {}
    for entry in _ENTRY_START.split(found[1])[:_MAX_ENTRIES]:
        key, _, value = entry.partition(":")
        plain = {key.strip().strip("\"'"): _one_line(value)} if value.strip() else {}
        read = _read(entry)
        entries |= plain if read is None else read
    return entries


def _read(block: str) -> dict[str, str] | None:
    """Return the entries of a YAML mapping; ``None`` if it cannot be parsed."""
    import yaml  # noqa: PLC0415 - only a worker with skills needs it

    try:
        root = yaml.compose(block, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        # The last two: escapes beyond Unicode.
        return None
    if not isinstance(root, yaml.MappingNode):
        return None if root else {}
    entries = {}
    for key, value in root.value:
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        texts = [
            _one_line(item.value)
            for item in items
            if isinstance(item, yaml.ScalarNode) and not item.tag.endswith(":null")
        ]
        if isinstance(key, yaml.ScalarNode) and any(texts):
            entries[key.value] = ", ".join(texts)
    return entries


def _one_line(value: str) -> str:
    return " ".join(value.split())
