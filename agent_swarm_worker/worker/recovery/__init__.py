"""Recovers the work of an earlier process; see "After a crash" in docs/architecture.md."""
