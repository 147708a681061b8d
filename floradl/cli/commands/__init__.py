"""One module a command. Each has `run`, which takes the resolved settings and returns the exit code."""
