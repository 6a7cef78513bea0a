"""The HTTP client of the swarm API: connection, wire shapes, and a client per subject."""
