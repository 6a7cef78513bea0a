"""swarm-worker: the daemon that lets any coding agent work for a swarm."""

__version__ = "0.1.0"
