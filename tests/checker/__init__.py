"""Checks and repairs of archives."""
