"""One module for each card: its figures and its table."""
