"""Training order and batches."""
