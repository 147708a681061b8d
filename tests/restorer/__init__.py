"""Restoring: files out of an archive."""
