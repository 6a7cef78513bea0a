"""Floor 4: where a session works: directories, repository clones, identity files."""
