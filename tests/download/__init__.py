"""Tests of download."""
