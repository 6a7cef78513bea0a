"""Prepare the files of a session: working directory, repository clones, profile files."""
