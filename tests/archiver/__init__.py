"""Tests of archiver."""
