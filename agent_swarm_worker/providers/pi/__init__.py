"""The harness ``pi``: an agent inside the worker's own process."""
