"""Secret scrubbing, tool-loop detection, permissions, error classes, and token counts.

No I/O, except that `tokens` reads the tokenizer's table from disk.
"""
