"""The page of a study: all trials, the best, the paper beside them."""
