"""Where sessions run: the port, and this machine."""
