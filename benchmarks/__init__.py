"""Measurements, printed as JSON. `make bench` runs them all; docs/benchmarks.md records them."""
