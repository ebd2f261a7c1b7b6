"""Studies: many runs that differ in named keys, tried, compared and never lost."""
