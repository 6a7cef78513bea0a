"""Floor 4: the credentials a harness logs in with."""
