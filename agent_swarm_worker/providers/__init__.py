"""The harnesses: one package each, and the kit that they share."""
