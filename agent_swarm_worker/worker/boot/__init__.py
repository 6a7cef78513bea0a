"""From an environment to a worker that is ready to poll."""
