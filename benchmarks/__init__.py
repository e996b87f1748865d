"""Measures Postage beside pika's own ways to do the same; ``python -m benchmarks --help``."""
