"""From the events of a session to API writes."""
