"""The session journal: JSON lines on disk, the system of record of a session."""
