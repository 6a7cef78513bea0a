"""The harness ``claude-managed``: Anthropic's Managed Agents, which run at the vendor."""
