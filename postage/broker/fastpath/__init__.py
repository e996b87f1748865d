"""Shortcuts for the most frequent methods; the broker gives the same answers without them."""
