"""Evaluation of images: feature extractors, metrics, reference statistics and protocol."""
