"""Scores of images that were not generated here."""
