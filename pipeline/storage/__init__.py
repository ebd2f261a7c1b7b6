"""Atomic files, digests, file locks, JSON lines and S3."""
