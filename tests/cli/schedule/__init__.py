"""Tests of cli.schedule."""
