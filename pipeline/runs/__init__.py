"""One training run: folder, key, checkpoints, backup, export."""
