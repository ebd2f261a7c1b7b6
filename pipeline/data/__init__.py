"""Shards: writing them from a source, and drawing batches from them in a computed order."""
