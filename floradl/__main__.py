"""`python -m floradl`."""

from floradl.cli.main import entry

entry()
