"""The metrics, one file each: formula, interval and protocol entry, from features to a number."""
