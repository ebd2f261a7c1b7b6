"""Where a run reports to: a file that is the truth, and MLflow that mirrors it."""
