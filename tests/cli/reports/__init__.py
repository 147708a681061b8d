"""Tests of cli.reports."""
