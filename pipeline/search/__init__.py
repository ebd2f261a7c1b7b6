"""Studies: runs that differ in named keys, searched and compared under Ray Tune."""
