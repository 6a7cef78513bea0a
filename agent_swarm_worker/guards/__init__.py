"""Secret scrubbing, tool-loop detection, error classes, child environments, token counts.

No I/O, except that `tokens` reads the tokenizer's table from disk.
"""
