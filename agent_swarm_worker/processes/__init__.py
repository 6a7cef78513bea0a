"""Child processes: spawn, pipes, capture buffer, escalation, sweep, isolated calls."""
