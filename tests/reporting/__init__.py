"""Reporting: what the page says, how it looks in a browser, what DVC plots."""
