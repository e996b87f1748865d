"""nameko, on eventlet: services answer, standalone proxies call, its publisher publishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eventlet.event import Event
from kombu import Exchange, Queue, pools
from nameko.amqp.publish import Publisher
from nameko.containers import ServiceContainer, WorkerContext
from nameko.extensions import Entrypoint
from nameko.messaging import consume as consumes
from nameko.rpc import RpcProxy, rpc

from benchmarks.job import EXCHANGE, PREFETCH, Job


class Call(Entrypoint):
    """The entrypoint that makes a service call: here, the benchmark."""

    method_name = "call"


def run(service: type, job: Job, until: Event) -> None:
    """Run *service* until the event has come."""
    container = ServiceContainer(service, {"AMQP_URI": job.url, "max_workers": PREFETCH})
    container.start()
    until.wait()
    container.stop()


def serve(job: Job) -> None:
    """Answer calls with a service; its queue is its name after ``rpc-``."""

    class Server:
        name = job.queue

        @rpc
        def echo(self, payload: Any) -> Any:
            if job.pause:
                time.sleep(job.pause)
            return payload

    run(Server, job, Event())


def open_caller(job: Job) -> Callable[[Any], Any]:
    """Return a call by the proxy."""
    call: Callable[[Any], Any] = proxy_of(job).echo
    return call


def proxy_of(job: Job) -> Any:
    """Return a service's proxy to another service; its workers share one reply queue."""

    class Client:
        name = "client"
        remote = RpcProxy(job.queue)

    container = ServiceContainer(Client, {"AMQP_URI": job.url, "max_workers": PREFETCH})
    container.start()
    (proxy,) = (one for one in container.dependencies if isinstance(one, RpcProxy))
    return proxy.get_dependency(WorkerContext(container, None, Call))


def open_publisher(job: Job) -> Callable[[Any], None]:
    """Return the publisher that is beneath `nameko.messaging.Publisher`."""
    pools.set_limit(job.callers)
    publisher = Publisher(
        job.url,
        use_confirms=job.confirm,
        delivery_mode=2 if job.persistent else 1,
        exchange=Exchange(EXCHANGE),
        routing_key=job.queue,
    )
    publish: Callable[[Any], None] = publisher.publish
    return publish


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle messages with a service, which acknowledges them after that."""
    finished = Event()
    exchange = Exchange(EXCHANGE, durable=True)
    queue = Queue(job.queue, exchange, job.queue, durable=job.persistent)

    class Consumer:
        name = "consumer"

        @consumes(queue)
        def take(self, payload: Any) -> None:
            if not handle(payload):
                finished.send()

    run(Consumer, job, finished)
