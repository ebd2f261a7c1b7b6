"""From a source of images to a folder of shards."""
