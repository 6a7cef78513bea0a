"""The harness ``subprocess``: any command line (``HARNESS_COMMAND``), one process per task."""
