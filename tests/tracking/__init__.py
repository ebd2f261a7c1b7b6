"""Tracking: records, MLflow mirror, later stages."""
