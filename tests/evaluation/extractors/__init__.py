"""Extractors: known answers, and weights that are refused."""
