"""Studies: which trials a search runs, and what came of them."""
