"""Helpers shared by tests, demo runner and benchmarks."""
