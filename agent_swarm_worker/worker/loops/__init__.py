"""The loops of a running worker: poll, heartbeat, steering, housekeeping, shutdown."""
