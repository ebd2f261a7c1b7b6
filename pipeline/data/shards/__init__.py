"""Shards and their manifest: files, readers, S3 cache, upload, verification."""
