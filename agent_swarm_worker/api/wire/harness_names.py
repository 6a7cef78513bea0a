"""Lists the harness names that servers accept (docs/api.md 17.1, 5.10 and 10.1).

The only module outside ``providers/`` that names harnesses: it describes the server, not what
is installed here.
"""

from __future__ import annotations

SESSION_NAMES = frozenset({"claude", "codex", "pi", "devin", "claude-managed", "opencode"})
"""Accepted for an agent's harness and a task's session."""
COST_NAMES = SESSION_NAMES | {"gemini"}
"""Accepted for a cost row; with one of them the server prices the row itself."""
REQUIRED_METADATA = {"devin": "sessionUrl"}
"""By harness: the text that a session's metadata must have, or the server refuses the name."""
