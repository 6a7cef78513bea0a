"""Floor 4: the harness ``pi``, an agent inside the worker's own process."""
