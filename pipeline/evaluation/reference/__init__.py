"""Statistics of the real images that metrics compare with."""
