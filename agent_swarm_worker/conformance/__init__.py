"""Does a provider keep what the contract promises? Checks that run against any of them.

The shortest way is the command ``swarm-worker conformance NAME``. A test suite uses the checks one
by one, see `suite`.
"""
