"""Floor 4: from a session's events to API writes."""
