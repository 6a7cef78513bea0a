"""The harness ``amp``: the Amp CLI, one process of its execute mode per task."""
