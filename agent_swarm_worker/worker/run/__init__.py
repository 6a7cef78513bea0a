"""One task, from its trigger to its finish."""
