"""Errors, images, random draws and the environment."""
