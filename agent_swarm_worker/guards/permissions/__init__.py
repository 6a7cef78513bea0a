"""The operator's permission policy: its settings, what a tool call does, and the decision."""
