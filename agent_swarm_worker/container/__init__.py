"""Prepare a container before the worker starts in it."""
