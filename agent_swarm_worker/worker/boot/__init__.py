"""Builds a worker from its environment and makes it ready to poll."""
