"""Drive any agent that speaks the Agent Client Protocol (ACP), over JSON lines on its pipes."""
