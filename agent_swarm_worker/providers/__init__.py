"""Floor 4: the harnesses. One package each, and the session base that they share."""
