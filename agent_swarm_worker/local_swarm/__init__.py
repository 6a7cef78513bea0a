"""An embedded swarm API for one machine, on Starlette and SQLite. Uses no worker code."""
