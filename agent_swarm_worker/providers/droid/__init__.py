"""Run Factory Droid as a harness, over the Agent Client Protocol."""
