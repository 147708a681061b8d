"""floradl: archive everything a FLORA account has generated."""

__version__ = "0.1.0"
