"""Inject faults around a worker, then compare all records: ``python -m chaos``."""
