"""Arithmetic on features, logits and moments; it knows neither networks nor files."""
