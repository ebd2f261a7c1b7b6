"""Arithmetic of the metrics: known answers."""
