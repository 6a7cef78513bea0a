"""Secret scrubbing: finds registered secrets, and what looks like one, in all that leaves."""
