"""Tracking: records, the sync to MLflow, later stages."""
