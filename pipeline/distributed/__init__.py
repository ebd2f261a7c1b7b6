"""Process groups, collectives, devices and launchers."""
