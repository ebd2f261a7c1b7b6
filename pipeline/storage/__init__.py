"""Files that appear whole, and their digests."""
