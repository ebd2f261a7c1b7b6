"""The networks and their mathematics; depends on torch alone."""
