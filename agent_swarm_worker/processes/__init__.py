"""Floor 2: child processes: spawn, line framing, the kill ladder, the sweep. No JSON."""
