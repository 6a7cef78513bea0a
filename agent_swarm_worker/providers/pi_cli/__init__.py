"""The harness ``pi-cli``: the pi command line, one process in its RPC mode per task."""
