"""Programs that measure: each prints ratios against named baselines."""
