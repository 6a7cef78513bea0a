"""Floor 5: the daemon. One loop, one file; `daemon` owns the task group they all live in."""
