"""One thin script for each DVC stage; see dvc.yaml."""
