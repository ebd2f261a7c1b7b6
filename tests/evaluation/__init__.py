"""Evaluation: known answers, agreement with torch-fidelity, and what is refused."""
