"""Tests of cli.ui."""
