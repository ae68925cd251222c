"""For hospital IT: what is wrong, whose job it is, and the next command."""
