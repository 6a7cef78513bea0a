"""The harness ``devin``: Cognition's agent, which runs at the vendor."""
