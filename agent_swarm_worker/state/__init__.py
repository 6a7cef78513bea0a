"""The state directory: one SQLite file with claims, notes and the outbox, and a liveness stamp."""
