"""Floor 3: what protects a session: secret scrubber, tool-loop detector, error classes, tokens.

No I/O, except that `tokens` reads a table from disk if there is one.
"""
