"""A wing of its own: an embedded swarm API for one machine, on Starlette and SQLite."""
