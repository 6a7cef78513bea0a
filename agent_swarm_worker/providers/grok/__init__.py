"""Run the Grok command line as a harness, over the Agent Client Protocol."""
