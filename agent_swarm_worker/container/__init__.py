"""Floor 5: what a container needs before a worker can start in it."""
