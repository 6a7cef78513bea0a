"""The harness names that servers accept; each checks a body as a whole and refuses any other.

This is the one place outside ``providers/`` that names harnesses: it describes the server's API
(docs/api.md 17.1, 5.10 and 10.1), not what is installed here.
"""

from __future__ import annotations

SESSION_NAMES = frozenset({"claude", "codex", "pi", "devin", "claude-managed", "opencode"})
"""Accepted for an agent's harness and a task's session."""
COST_NAMES = SESSION_NAMES | {"gemini"}
"""Accepted for a cost row; with one of them the server prices the row itself."""
REQUIRED_METADATA = {"devin": "sessionUrl"}
"""What the metadata of a session must hold as a text, or the server refuses the name."""
