"""Tools that the operator defines in a file, offered to any harness over MCP (docs/tools.md)."""
