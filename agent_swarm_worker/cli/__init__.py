"""The commands, one file each: they parse, print and exit."""
