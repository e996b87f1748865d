"""What a process tells Prometheus of its processors."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

import postage.cli.running.metrics_page as pages
from postage import messaging
from postage.cli.running.metrics_page import MetricsPage
from postage.metrics import PostageCollector, measurements
from postage.metrics.measurements import OTHERS, Measurements
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint

SOON = 10.0


class Works(messaging.MessageProcessor):
    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        """Do nothing."""


def values(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def registered(*processors: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PostageCollector(processors))
    return registry


def test_a_registry_has_the_counts_of_handlers(endpoint: Endpoint, run_processor: Any) -> None:
    processor = run_processor(Works({"name": "w"}, endpoint.eqk))
    for _ in range(3):
        endpoint.producer().send("work")
    wait_until(lambda: processor.statistics().handled == 3, SOON)

    registry, which = registered(processor), {"class": "Works", "processor": "w"}
    labels = {**which, "handler": "work"}
    assert values(registry, "postage_handler_received_total", **labels) == 3
    assert values(registry, "postage_handler_seconds_count", **labels) == 3
    assert values(registry, "postage_handler_seconds_bucket", **labels, le="50.0") == 3
    handled = values(registry, "postage_processor_messages_total", **which, outcome="handled")
    assert handled == 3
    assert values(registry, "postage_connections_open", role="consuming") >= 1
    assert values(registry, "postage_greenlets") > 1
    assert values(registry, "postage_resident_memory_bytes") > 1e6


def test_processors_with_the_same_labels_share_series(endpoint: Endpoint) -> None:
    twins = [Works({"name": "twin"}, endpoint.eqk) for _ in range(2)]
    for number, twin in enumerate(twins, 1):
        twin.counts["malformed"] = number
    registry, which = registered(*twins), {"class": "Works", "processor": "twin"}
    name = "postage_processor_messages_total"
    assert values(registry, name, **which, outcome="malformed") == 3


def test_names_and_their_number_are_bounded(endpoint: Endpoint, monkeypatch: Any) -> None:
    monkeypatch.setattr(measurements, "MOST_PROCESSORS", 3)
    odd = "\x1b[31m\n" + "x" * 10_000
    processors = [Works({"name": f"{n}{odd}"}, endpoint.eqk) for n in range(10)]
    for each in processors:
        each.counts["stale"] = 1
    text = generate_latest(registered(*processors)).decode()
    assert "\x1b" not in text
    assert len(text) < 20_000
    registry = registered(*processors)
    others = {"class": OTHERS, "processor": OTHERS, "outcome": "stale"}
    assert values(registry, "postage_processor_messages_total", **others) == 7


def test_reading_many_lets_others_run(endpoint: Endpoint) -> None:
    processors = [Works({"name": str(n)}, endpoint.eqk) for n in range(20)]
    turns = [each for each in Measurements(processors).families() if each is None]
    assert len(turns) >= 20


def test_the_page_has_the_metrics_of_the_program(monkeypatch: Any) -> None:
    registry = CollectorRegistry()
    registry.register(PostageCollector([]))  # is not shown twice
    orders = Counter("orders", "Orders.", ["shop"], registry=registry)
    orders.labels(shop='a"b').inc(2)
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)

    text = MetricsPage([], number=3).own().decode()
    assert 'orders_total{worker="3",shop="a\\"b"} 2.0\n' in text
    assert "orders_created" not in text
    assert text.count("# TYPE postage_info ") == 1


def test_a_label_worker_of_the_program_is_renamed(monkeypatch: Any) -> None:
    registry = CollectorRegistry()
    jobs = Counter("jobs", "Jobs.", ["worker"], registry=registry)
    jobs.labels(worker="resize").inc(2)
    both = Counter("both", "Both.", ["worker", "exported_worker"], registry=registry)
    both.labels(worker="a", exported_worker="b").inc()
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)

    text = MetricsPage([], number=3).own().decode()
    assert 'jobs_total{worker="3",exported_worker="resize"} 2.0\n' in text
    own = 'worker="3",exported_exported_worker="a",exported_worker="b"'
    assert f"both_total{{{own}}} 1.0\n" in text


def test_a_metric_that_fails_leaves_the_page(monkeypatch: Any, caplog: Any) -> None:
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc(2)
    Gauge("depth", "Depth.", registry=registry).set_function(lambda: 1 / 0)
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)

    text = MetricsPage([]).all().decode()
    assert 'postage_worker_up{worker="0"} 1\n' in text
    assert 'postage_info{worker="0"' in text
    assert 'orders_total{worker="0"} 2.0\n' in text
    assert "Metrics of the program could not be read" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_page_is_kept_for_a_second(monkeypatch: Any) -> None:
    page = MetricsPage([])
    first = page.own()
    assert page.own() is first
    monkeypatch.setattr(pages, "KEPT", -1.0)
    assert page.own() is not first


@pytest.mark.parametrize("page", ["own", "all"])
def test_one_process_is_worker_0(page: str) -> None:
    text = getattr(MetricsPage([]), page)().decode()
    assert 'postage_info{worker="0"' in text
    assert ('postage_worker_up{worker="0"} 1' in text) == (page == "all")
