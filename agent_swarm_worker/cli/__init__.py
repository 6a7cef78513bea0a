"""Floor 6: one file per command. They parse, print and exit; what they do lies below."""
