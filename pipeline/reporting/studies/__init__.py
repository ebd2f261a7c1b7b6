"""A study's page: all trials, the best configuration, comparison with the paper."""
