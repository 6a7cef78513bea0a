"""Floor 4: the swarm's skills on this machine's disk."""
