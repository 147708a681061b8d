"""The offline gallery, in a real browser."""
