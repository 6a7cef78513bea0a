"""Run the Copilot command line as a harness, over the Agent Client Protocol."""
