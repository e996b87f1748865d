"""Metrics for Prometheus: of `postage run`, and in a registry of prometheus_client."""

from postage.metrics.collector import PostageCollector

__all__ = ["PostageCollector"]
