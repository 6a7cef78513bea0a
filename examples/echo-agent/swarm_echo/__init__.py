"""A provider that lives outside of agent-swarm-worker, to copy from."""
