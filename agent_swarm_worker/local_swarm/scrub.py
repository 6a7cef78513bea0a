"""Replace secrets in texts before they are stored (docs/api.md 16.4).

The worker scrubs what it sends, but an agent's tool calls reach the server directly. Found are
tokens of known patterns, and the values of secret configuration rows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Store

MIN_SECRET_CHARS = 12
"""Shorter configuration values occur in ordinary text."""

_PATTERNS = (
    # name, prefix of every match, pattern
    ("github_token", "gh", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    ("github_token", "github_pat_", r"github_pat_[A-Za-z0-9_]{40,}"),
    ("gitlab_token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
    ("anthropic_key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    ("openrouter_key", "sk-or-", r"sk-or-[A-Za-z0-9_-]{20,}"),
    ("openai_key", "sk-", r"sk-(?:proj-)?[A-Za-z0-9_-]{32,}"),
    ("slack_token", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("aws_key_id", "AKIA", r"AKIA[0-9A-Z]{16}"),
    ("google_key", "AIza", r"AIza[0-9A-Za-z_-]{35}"),
    ("jwt", "eyJ", r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    ("linear_key", "lin_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    ("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    ("swarm_token", "aswt_", r"aswt_[A-Za-z0-9_-]{16,}"),
)
_SEARCHES = tuple((name, prefix, re.compile(text)) for name, prefix, text in _PATTERNS)


def scrub(store: Store, text: str) -> str:
    """Return `text` with secrets replaced by ``[REDACTED:<name>]``."""
    return Scrubber(store)(text)


class Scrubber:
    """Scrubs many texts with one read of the configuration rows."""

    def __init__(self, store: Store) -> None:
        self._known = [
            (row["value"], row["key"])
            for row in store.rows(
                "SELECT key, value FROM config WHERE isSecret = 1 AND LENGTH(value) >= ?",
                MIN_SECRET_CHARS,
            )
        ]

    def __call__(self, text: str) -> str:
        """Return `text` without secrets."""
        for value, name in self._known:
            text = text.replace(value, f"[REDACTED:{name}]")
        for name, prefix, pattern in _SEARCHES:
            # A substring search first is 100 times faster than the expression.
            if prefix in text:
                text = pattern.sub(f"[REDACTED:{name}]", text)
        return text
