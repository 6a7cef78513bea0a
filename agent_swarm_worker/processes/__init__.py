"""Floor 2: child processes: spawn, line framing, escalation, sweep, isolated calls."""
