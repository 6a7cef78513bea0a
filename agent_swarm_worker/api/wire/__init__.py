"""Shapes of the wire, the only place with its camelCase names: tolerant readers, strict writers."""
