"""The metrics by family: each measures a set of images against the real side."""
