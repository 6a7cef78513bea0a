"""Floor 3: the swarm API: client, wire shapes, the state file and the durable outbox."""
