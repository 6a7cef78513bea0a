"""The harness ``cursor``: the Cursor CLI, one process of its print mode per task."""
