"""Tests of the local FLORA API, by clients that know nothing of floradl."""
