"""Run opencode as a harness, over the Agent Client Protocol."""
