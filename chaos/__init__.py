"""Breaks everything around a worker, then counts what is missing. `python -m chaos`."""
