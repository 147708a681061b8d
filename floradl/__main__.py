"""`python -m floradl`."""

from floradl.cli import entry

entry()
