"""Spans of OpenTelemetry that a test has made, and how they are related."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from postage.testing.polling import wait_until
from postage.tracing import Tracing
from tests.support.running import SOON

Tree = list[Any]
"""The names of spans, each as ``(name, subtree)``, in their order."""


class Spans:
    """Collects the spans of `hook`, and of `tracer`."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")
        self.hook = Tracing(self.provider)

    @property
    def all(self) -> list[Any]:
        """The spans that have ended, those first that started first."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def wait(self, count: int) -> list[Any]:
        """Wait until *count* spans have ended; return them."""
        wait_until(lambda: len(self.all) >= count, SOON, f"{count} spans")
        assert len(self.all) == count, [span.name for span in self.all]
        return self.all

    def one(self, name: str) -> Any:
        """Wait for the only span *name*; return it."""
        wait_until(lambda: any(span.name == name for span in self.all), SOON, f"a span {name}")
        (found,) = (span for span in self.all if span.name == name)
        return found

    @property
    def trees(self) -> Tree:
        """The trees of all traces."""
        return self._below(None)

    def _below(self, id_: int | None) -> Tree:
        ids = {span.context.span_id for span in self.all}
        assert all(span.parent is None or span.parent.span_id in ids for span in self.all)
        spans = (s for s in self.all if (s.parent and s.parent.span_id) == id_)
        return [(span.name, self._below(span.context.span_id)) for span in spans]


def traceparent(span: ReadableSpan) -> str:
    """Return the header that names *span*."""
    context: Any = span.context
    trace_id, span_id = format_trace_id(context.trace_id), format_span_id(context.span_id)
    return f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"
