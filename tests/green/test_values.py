"""Values that cannot be used are refused where they are given, by name, and nothing was sent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from postage import green, messaging
from postage.errors import EncodingError, SettingsError
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint, exchange, producer_at
from tests.support.proxy import Proxy
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Echo(messaging.MessageProcessor):
    """Answers, and counts what it is given."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.sizes: list[int] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])

    @messaging.MessageHandler("command", "size")
    def size(self, content: Any) -> None:
        self.sizes.append(len(content["parameters"]))


def echo(endpoint: Endpoint, **attributes: Any) -> Echo:
    return type("Server", (Echo,), attributes)({"name": "server"}, endpoint.eqk)  # type: ignore[no-any-return]


# --- attributes

PROCESSOR = [
    *(("concurrency", value) for value in (0, -1, 2.5, None, "5", 65_536, True, math.inf)),
    *(("prefetch", value) for value in (-1, 70_000, 1.5, "1", False)),
    *(("max_deliveries", value) for value in (0, "20", 2.5)),
    *(("shutdown_timeout", value) for value in (-1, None, "30", math.nan)),
    *(("restart", value) for value in ("forever", None, ["transient"])),
    *(("restart_intensity", value) for value in (-1, "many", None)),
    *(("restart_period", value) for value in (0, None, "60")),
    *(("remote_control", value) for value in ("no", None, 2)),
    *(("answer_unknown", value) for value in ("false", None)),
]


@pytest.mark.parametrize(("name", "value"), PROCESSOR)
def test_a_processor_checks_its_attributes(endpoint: Endpoint, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^Server\.{name} must be "):
        echo(endpoint, **{name: value})


PRODUCER = [
    *(("rpc_timeout", value) for value in (None, "5", math.nan, math.inf, -1)),
    *(("max_retry", value) for value in (-1, None, "4", 1.5, True)),
    *(("publish_timeout", value) for value in (None, 0, "30", math.nan)),
    *(("delivery_mode", value) for value in (0, 3, None, "2")),
    *(("confirm", value) for value in (None, "no")),
    *(("mandatory", value) for value in (None, "yes")),
    *(("max_body", value) for value in (0, "1 MB", 1.5)),
    *(("encoder_class", value) for value in (None, "json", object, green)),
]


@pytest.mark.parametrize(("name", "value"), PRODUCER)
def test_a_producer_checks_its_attributes(endpoint: Endpoint, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^Producer\.{name} must be "):
        endpoint.producer(**{name: value})
    producer = endpoint.producer()
    with pytest.raises(SettingsError, match=rf"^Producer\.{name} must be "):
        setattr(producer, name, value)


CONSUMER = [
    *(("prefetch", value) for value in (-1, 65_536, None, 2.0)),
    *(("max_body", value) for value in (-1, "8 MB")),
    *(("discard_all_messages", value) for value in ("no", None)),
    *(("encoder_class", value) for value in (None, int)),
]


@pytest.mark.parametrize(("name", "value"), CONSUMER)
def test_a_consumer_checks_its_attributes(endpoint: Endpoint, name: str, value: Any) -> None:
    kind = type("Consumer", (messaging.GenericConsumer,), {name: value})
    with pytest.raises(SettingsError, match=rf"^Consumer\.{name} must be "):
        kind(endpoint.eqk)
    consumer = messaging.GenericConsumer(endpoint.eqk)
    with pytest.raises(SettingsError, match=rf"{name} must be "):
        setattr(consumer, name, value)


@pytest.mark.parametrize("value", [1000, None, "8 MB", 0])
def test_max_body_of_a_processor_belongs_to_its_consumer(endpoint: Endpoint, value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^Server\.max_body has no effect.*consumer_class"):
        echo(endpoint, max_body=value)


def test_a_handler_may_be_called_max_body(endpoint: Endpoint) -> None:
    handler = messaging.RpcHandler("command", "max_body")(lambda _self, _content, reply: reply(1))
    with running(echo(endpoint, max_body=handler)):
        assert endpoint.producer().rpc_max_body().value == 1


@pytest.mark.parametrize("hup", [[], "", (), 0, False, ["localhost"]])
@pytest.mark.parametrize(
    "make",
    [
        lambda hup, eqk: messaging.GenericConsumer(eqk, hup),
        lambda hup, eqk: Echo(None, eqk, hup),
        lambda hup, _eqk: messaging.GenericProducer(None, hup),
        lambda hup, _eqk: type("P", (messaging.GenericProducer,), {"hup": hup})(),
        lambda hup, eqk: type("C", (messaging.GenericConsumer,), {"hup": hup})(eqk),
    ],
    ids=["consumer", "processor", "producer", "class of producers", "class of consumers"],
)
def test_a_hup_that_is_no_dictionary_is_refused(endpoint: Endpoint, make: Any, hup: Any) -> None:
    with pytest.raises(SettingsError, match="hup must be a dictionary with host"):
        make(hup, endpoint.eqk)


def test_an_assignment_to_a_processor_is_checked(endpoint: Endpoint) -> None:
    processor = echo(endpoint, prefetch=0, shutdown_timeout=0, restart_period=math.inf)
    with pytest.raises(SettingsError, match=r"Server\.concurrency must be an int from 1 to 65535"):
        processor.concurrency = 0
    with running(processor):
        assert endpoint.producer().rpc_echo("x").value == "x"


def test_a_property_is_read_when_it_is_needed(endpoint: Endpoint) -> None:
    class Later(Echo):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.patience = 1.0

        @property
        def shutdown_timeout(self) -> float:  # type: ignore[override]
            return self.patience

    with running(Later({}, endpoint.eqk)):
        assert endpoint.producer().rpc_echo("x").value == "x"


# --- options of a message or call

OPTIONS = [
    *(("_key", value) for value in (5, b"k", "k" * 256, "\ud800", ["k"], "ä" * 128)),
    *(("_eks", value) for value in (5, "ab", [("x", "k")], iter([]), [messaging.Exchange])),
]


@pytest.mark.parametrize(("name", "value"), OPTIONS, ids=lambda v: ascii(v)[:20])
@pytest.mark.parametrize("kind", ["send", "call", "forward", "message_x", "rpc_x"])
def test_a_wrong_destination_is_named(endpoint: Endpoint, kind: str, name: str, value: Any) -> None:
    producer = endpoint.producer()
    arguments = ("x",) if kind in ("send", "call", "forward") else ()
    with pytest.raises(SettingsError, match=rf"{name}.* must be "):
        getattr(producer, kind)(*arguments, **{name: value})
    assert producer.statistics().sent == producer.statistics().calling == 0


@pytest.mark.parametrize("key", [None, 5, b"k", "\ud800"], ids=ascii)
def test_a_wrong_key_in_eks_is_named(endpoint: Endpoint, key: Any) -> None:
    with pytest.raises(SettingsError, match=r"a key of Producer\.eks must be "):
        endpoint.producer(eks=[(endpoint.exchange, key)])
    with pytest.raises(SettingsError, match=r"a key of _eks must be "):
        endpoint.producer().message_x(_eks=[(endpoint.exchange, key)])


@pytest.mark.parametrize("timeout", ["5", math.nan, math.inf, [], True], ids=str)
def test_a_wrong_timeout_is_refused_when_the_call_begins(endpoint: Endpoint, timeout: Any) -> None:
    producer = endpoint.producer()
    with pytest.raises(SettingsError, match=r"^_timeout must be >= 0 seconds .a finite number."):
        producer.rpc_echo(_timeout=timeout)
    with pytest.raises(SettingsError, match=r"^_timeout must be"):
        producer.rpc_echo.later(_timeout=timeout)
    with pytest.raises(SettingsError, match=r"^timeout must be"):
        producer.consume_rpc("q", timeout=timeout)


@pytest.mark.parametrize("retries", [-1, "4", 1.5, math.inf, True], ids=str)
def test_wrong_retries_are_refused_when_the_call_begins(endpoint: Endpoint, retries: Any) -> None:
    with pytest.raises(SettingsError, match=r"^_max_retry must be an int of at least 0"):
        endpoint.producer().rpc_echo(_max_retry=retries)


# --- exchanges, queues, keys

EXCHANGES = [
    *(("name", value) for value in (None, 5, b"x", "x" * 256, "\udc80")),
    *(("exchange_type", value) for value in (None, "", 5)),
    *(("durable", value) for value in ("false", None)),
    *(("passive", value) for value in ("no",)),
    *(("auto_delete", value) for value in ([],)),
    *(("arguments", value) for value in (5, {"a": 1.5}, {"a": {1}}, {"k" * 256: 1})),
]


@pytest.mark.parametrize(("name", "value"), EXCHANGES, ids=lambda v: ascii(v)[:20])
def test_wrong_attributes_of_an_exchange_are_named(
    endpoint: Endpoint, name: str, value: Any
) -> None:
    wrong = exchange(**{"name": endpoint.queue, name: value})
    named = rf"Exchange\.{name}"
    with pytest.raises(SettingsError, match=named):
        producer_at(endpoint, eks=[(wrong, "k")])
    with pytest.raises(SettingsError, match=named):
        messaging.GenericConsumer([(wrong, [(endpoint.queue, "k")])])
    for confirm in (True, False):
        producer = producer_at(endpoint, confirm=confirm)
        with pytest.raises(SettingsError, match=named):
            producer.message_x(_eks=[(wrong, "k")])
        producer.message_x()


QUEUES: list[Any] = [
    *(None, 5, b"q", "q" * 256, "\ud800", ["q"], {"flags": {}}, {"name": None}, {"name": 5}),
    *({"name": "q", "flags": flags} for flags in (5, ["durable"], {"durable": "false"})),
    *({"name": "q", "flags": flags} for flags in ({"exclusive": None}, {"autodelete": True})),
    *({"name": "q", "flags": {"arguments": each}} for each in (1, [("a", 1)], {"a": 2**70})),
]


@pytest.mark.parametrize("queue", QUEUES, ids=lambda v: ascii(v)[:30])
def test_a_wrong_queue_is_named_and_nothing_declared(endpoint: Endpoint, queue: Any) -> None:
    with pytest.raises(SettingsError, match="queue"):
        messaging.MessageProcessor({}, endpoint.at((queue, "k")))
    with pytest.raises(SettingsError, match="queue"), green.pipelined():
        messaging.MessageProcessor({}, endpoint.at((queue, "k")))
    consumer = messaging.GenericConsumer()
    for method in (consumer.queue_bind, consumer.queue_unbind):
        with pytest.raises(SettingsError, match="queue"):
            method(endpoint.exchange, queue, "k")


def test_flags_of_queue_bind_are_checked(endpoint: Endpoint) -> None:
    consumer = messaging.GenericConsumer()
    with pytest.raises(SettingsError, match=r"durable of queue .* must be True or False"):
        consumer.queue_bind(endpoint.exchange, endpoint.queue, "k", durable="yes")
    with pytest.raises(SettingsError, match="no flag 'lazy'"):
        consumer.queue_bind(endpoint.exchange, endpoint.queue, "k", lazy=True)


@pytest.mark.parametrize("key", [5, b"k", "k" * 256, "\ud800"], ids=ascii)
def test_a_wrong_key_of_a_binding_is_named(endpoint: Endpoint, key: Any) -> None:
    with pytest.raises(SettingsError, match="the key of a binding to exchange"):
        messaging.GenericConsumer(endpoint.at((endpoint.queue, key)))


@pytest.mark.parametrize(
    "given",
    [
        *({"hup": hup} for hup in ("localhost", 5, [("host", "h")])),
        *({"hup": {name: None}} for name in ("host", "user", "password")),
        *({"hup": {"host": host}} for host in (5, b"h", "", "h" * 254, "a..\xe4", "h\0")),
        *({"vhost": vhost} for vhost in (5, b"v", "v" * 300, "\ud800")),
        *({"settings": settings} for settings in ("amqp://h", {"host": "h"}, Settings)),
    ],
    ids=lambda v: ascii(v)[:30],
)
def test_wrong_constructor_arguments_are_refused(endpoint: Endpoint, given: Any) -> None:
    for make in (producer_at(endpoint).__class__, messaging.GenericConsumer):
        with pytest.raises(SettingsError, match=r"must be|a host is missing"):
            make(**given)
    with pytest.raises(SettingsError, match=r"must be|a host is missing"):
        messaging.MessageProcessor({}, (), **given)


# --- the size of a message


def test_what_a_processor_would_refuse_is_not_sent(endpoint: Endpoint) -> None:
    producer = endpoint.producer(max_body=1000)
    assert producer.max_body == 1000
    with pytest.raises(EncodingError, match=r"a body of \d{4} bytes .* max_body of Producer, 1000"):
        producer.message_size("x" * 1000)
    with pytest.raises(EncodingError):
        producer.forward("x" * 1000)
    with pytest.raises(EncodingError):
        producer.rpc_queue_echo("x" * 1000)
    assert producer.statistics().failed == 2
    producer.message_size("x")


@pytest.mark.parametrize("later", [False, True])
def test_a_call_that_is_too_large_has_a_result(endpoint: Endpoint, later: bool) -> None:
    producer = endpoint.producer(max_body=1000)
    result = (
        producer.rpc_echo.later("x" * 1000).get() if later else producer.call("echo", "x" * 1000)
    )
    assert result.kind == "exception"
    assert result.value == "EncodingError"
    assert "larger than max_body of Producer, 1000 bytes" in result.message
    assert producer.statistics().excepted == 1


def test_replies_are_not_limited_by_the_caller(endpoint: Endpoint) -> None:
    class Large(Echo):
        @messaging.RpcHandler("command", "large")
        def large(self, content: Any, reply: Any) -> None:
            reply("x" * content["parameters"])

    with running(Large({}, endpoint.eqk)):
        assert len(endpoint.producer(max_body=1000).rpc_large(100_000).value) == 100_000


@pytest.mark.slow
def test_what_rabbitmq_4_lets_through_is_handled(endpoint: Endpoint) -> None:
    processor = echo(endpoint)
    producer = endpoint.producer()
    with running(processor):
        empty = len(producer.encoder.encode(messaging.MessageCommand("size", "").body))
        fingerprint = len(producer.encoder.encode(producer.fingerprint)) - 2
        most = producer.max_body - empty - fingerprint - 100
        producer.message_size("x" * most)
        wait_until(lambda: processor.sizes == [most], SOON)
        with pytest.raises(EncodingError):
            producer.message_size("x" * (most + 400))


def test_none_is_no_limit(endpoint: Endpoint) -> None:
    kind = type("Consumer", (messaging.GenericConsumer,), {"max_body": None})
    with running(echo(endpoint, consumer_class=kind)):
        producer = endpoint.producer(max_body=None)
        assert len(producer.rpc_echo("x" * 100_000).value) == 100_000


# --- arguments of other methods


@pytest.mark.parametrize("name", ["consumer_class", "exchange_class", "logging_producer"])
@pytest.mark.parametrize("value", [None, 5, "x", lambda: 5], ids=lambda v: type(v).__name__)
def test_an_application_checks_its_classes(name: str, value: Any) -> None:
    kind = type("Application", (green.GenericApplication,), {name: value})
    with pytest.raises(SettingsError, match=rf"^Application\.{name} must be a class"):
        kind({"name": "a"})


@pytest.mark.parametrize("groups", [None, 5, "abc"])
def test_groups_are_a_list_of_names(groups: Any) -> None:
    with pytest.raises(SettingsError, match="groups must be a list of names"):
        green.GenericApplication({"name": "a"}, groups=groups)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("queue", value) for value in (None, 5, b"q", "", "q" * 256)),
        *(("result_len", value) for value in (-1, "1", None)),
        *(("callback", value) for value in (5, "print")),
    ],
)
def test_arguments_of_consume_rpc_are_checked(endpoint: Endpoint, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be "):
        endpoint.producer().consume_rpc(**{"queue": "q", name: value})


@pytest.mark.parametrize("seconds", [-1, "5", None, math.nan, math.inf])
def test_arguments_of_timers_are_checked(endpoint: Endpoint, seconds: Any) -> None:
    processor = echo(endpoint)
    for callback in (None, print):
        with pytest.raises(SettingsError, match=r"^seconds must be >= 0"):
            processor.add_timeout(seconds, callback)
    with pytest.raises(SettingsError, match=r"^callback must be a function, or None"):
        processor.add_timeout(1, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", [None, 5, Echo, "processor"], ids=str)
def test_only_an_object_can_run(what: Any) -> None:
    with pytest.raises(SettingsError, match="a microthread must be an object"):
        green.run(what)


# --- classes that change later


@pytest.mark.parametrize("key", [5, None, b"k", "\ud800", "k" * 256], ids=ascii)
@pytest.mark.parametrize("confirm", [True, False])
def test_a_wrong_key_that_a_class_gets_later_hurts_nobody(
    endpoint: Endpoint, confirm: bool, key: Any
) -> None:
    processor = echo(endpoint)
    producer = endpoint.producer(confirm=confirm)
    with running(processor):
        type(producer).eks = [(endpoint.exchange, key)]
        for _ in range(3):
            with pytest.raises(SettingsError, match=r"a name or key must be|longer than"):
                producer.message_size("x")
            with pytest.raises(SettingsError, match=r"a name or key must be|longer than"):
                producer.rpc_echo("x").unwrap()
        type(producer).eks = endpoint.eks
        producer.message_size("good")
        wait_until(lambda: processor.sizes == [4], SOON)
        assert producer.rpc_echo("x").value == "x"


@pytest.mark.parametrize("heartbeat", [0, 65_535])
def test_the_ends_of_the_range_of_heartbeats_work(
    endpoint: Endpoint, broker_env: Any, heartbeat: int
) -> None:
    with Proxy(broker_env.port) as proxy:
        settings = replace(Settings.resolve(), port=proxy.port, heartbeat=heartbeat)
        processor = Echo({}, endpoint.eqk, settings=settings)
        with running(processor):
            producer = type(endpoint.producer(max_retry=4))(settings=settings)
            assert producer.rpc_echo("x").value == "x"
            proxy.cut()
            assert producer.rpc_echo("again").value == "again"
