"""Recovers the work of an earlier process of the same agent.

`docs/architecture.md` (section "After a crash") says what is stored where while a worker runs, and
which steps the next start takes, with the module of each.
"""
