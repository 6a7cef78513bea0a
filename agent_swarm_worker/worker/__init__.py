"""The daemon: boot, task runs, loops, recovery. `daemon` owns the task group of all loops."""
