"""Tracking of a run: `stats.jsonl` in its folder, and its sync to MLflow."""
