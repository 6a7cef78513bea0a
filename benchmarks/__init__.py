"""Benchmarks that print JSON; `make bench` runs them all, docs/benchmarks.md has the results."""
