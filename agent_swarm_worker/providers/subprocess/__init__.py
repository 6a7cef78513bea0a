"""Any command line as a harness: ``HARNESS_PROVIDER=subprocess HARNESS_COMMAND=…``."""
