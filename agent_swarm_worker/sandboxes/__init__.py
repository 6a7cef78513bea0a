"""Floor 3: where a child process runs; on this machine for now."""
