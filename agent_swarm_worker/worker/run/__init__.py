"""Runs one task, from its trigger to its finish."""
