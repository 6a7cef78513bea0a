"""Check that a provider keeps the promises of the contract.

The command ``swarm-worker conformance NAME`` runs all checks; a test suite runs them one by one
(`suite`).
"""
