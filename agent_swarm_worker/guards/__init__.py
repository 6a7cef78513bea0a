"""Floor 3: what protects a session: secret scrubber, tool-loop detector, error classes. No I/O."""
