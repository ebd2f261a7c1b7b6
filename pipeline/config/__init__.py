"""`params.yaml`, parsed once at the border into frozen sections."""
