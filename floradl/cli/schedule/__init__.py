"""A nightly job, one scheduler a file."""
