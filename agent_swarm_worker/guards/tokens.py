"""Count the tokens of a text: with the tokenizer if it is on disk, else by an estimate.

``tiktoken`` downloads a table that is not in its cache, without a time limit, and deletes a table
whose checksum is wrong. So it is used only if the genuine table is there. The estimate is one token
for four bytes of UTF-8: about right for English and code, and an upper bound for most other
scripts.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.settings import SettingsModel, operator_only, process_env

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_PER_TOKEN = 4

_ENCODING = "o200k_base"
"""The encoding of current OpenAI models; other vendors' counts are closer to it than a guess."""
_TABLE_FILE = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""The name of the table in tiktoken's cache: the SHA-1 of its address."""
_TABLE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_PIECE_CHARS = 4096
"""Texts are measured in pieces: a tokenizer's time grows faster than a word without spaces."""


class TokenizerSettings(SettingsModel):
    """Where tiktoken keeps its tables."""

    # --- counting tokens
    cache_dir: str | None = operator_only(
        "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", is_native=True, keeps_blank=True
    )
    """Folder with the table that counts tokens of prompts; a blank value switches it off."""


class Encoding(Protocol):
    """The part of a tokenizer that counting needs."""

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Return the tokens of a text; control tokens are read as text."""


def count_tokens(text: str) -> int:
    """Return how many tokens `text` has."""
    return sum(_measure(piece) for piece in _pieces(text))


def truncate_to_tokens(text: str, max_tokens: int, *, notice: str = "") -> str:
    """Return the start of `text` that has at most `max_tokens` tokens, `notice` included.

    A cut text ends with `notice` on a line of its own; without room for it the result is empty.
    """
    if count_tokens(text) <= max_tokens:
        return text
    end = f"\n{notice}" if notice else ""
    # One to spare: the joined text is measured in other pieces than its two parts.
    room = max_tokens - count_tokens(end) - bool(end)
    if room < 0:
        return ""
    kept = text[: _fitting(text, room)].rstrip()
    return f"{kept}{end}" if kept else notice


def _fitting(text: str, max_tokens: int) -> int:
    """Return how many leading characters of `text` have at most `max_tokens` tokens."""
    start, left = 0, max_tokens
    for piece in _pieces(text):
        cost = _measure(piece)
        if cost > left:
            low, high = 0, len(piece)
            while low < high:
                middle = (low + high + 1) // 2
                if _measure(piece[:middle]) <= left:
                    low = middle
                else:
                    high = middle - 1
            return start + low
        start, left = start + len(piece), left - cost
    return start


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS))


def _measure(piece: str) -> int:
    encoding = _encoding()
    if encoding is not None:
        return len(encoding.encode_ordinary(piece))
    return -(-len(piece.encode(errors="replace")) // BYTES_PER_TOKEN)


@cache
def _encoding() -> Encoding | None:
    """Load the tokenizer if its table is on disk; on first use, since the table takes memory."""
    table = _cache_dir() / _TABLE_FILE
    try:
        if not table.is_file() or hashlib.sha256(table.read_bytes()).hexdigest() != _TABLE_SHA256:
            return None
        import tiktoken  # noqa: PLC0415 - an optional library, and not a small one
    except (OSError, ImportError):
        return None
    return tiktoken.get_encoding(_ENCODING)


def _cache_dir() -> Path:
    """Return the folder of tiktoken's cache; a blank variable switches the cache off."""
    chosen = TokenizerSettings.load(process_env()).cache_dir
    if chosen is not None:
        return Path(chosen or os.devnull)
    return Path(tempfile.gettempdir()) / "data-gym-cache"
