"""Replace registered secrets, and text with the shape of one, in all output."""
