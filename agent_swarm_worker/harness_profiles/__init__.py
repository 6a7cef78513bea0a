"""Harness profiles: how a harness runs, by name, in files of the operator."""
