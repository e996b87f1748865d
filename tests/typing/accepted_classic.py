"""Programs from the README of 1.2.1, with the annotations that mypy --strict requires."""

from __future__ import annotations

from typing import Any

from postage import generic_application, green, messaging, microthreads


class EchoExchange(messaging.Exchange):
    name = "echo-exchange"
    exchange_type = "direct"


class EchoProducer(messaging.GenericProducer):
    eks = [(EchoExchange, "echo-rk")]

    def build_message_echo(self, parameters: Any) -> messaging.Message:
        return messaging.MessageCommand("echo", parameters)


class EchoProcessor(messaging.MessageProcessor):
    @messaging.MessageHandler("command", "echo")
    def msg_echo(self, content: dict[str, Any]) -> None:
        print(content["parameters"])

    @messaging.RpcHandler("command", "echo")
    def msg_echo_rpc(self, content: dict[str, Any], reply_func: Any) -> None:
        reply_func(messaging.MessageResult(content["parameters"]))


class Application(generic_application.GenericApplication):
    exchange_class = generic_application.GenericApplicationExchange
    logging_producer = EchoProducer


def main() -> None:
    fingerprint = messaging.Fingerprint("echo_receive", "processor").as_dict()
    eqk = [(EchoExchange, [("echo-queue", "echo-rk")])]
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(EchoProcessor(fingerprint, eqk, None, None))
    scheduler.add_microthread(Application(fingerprint, groups=["g"]))
    for _ in scheduler.main():
        pass


def send() -> Any:
    producer = EchoProducer(messaging.Fingerprint("echo_send", "application").as_dict())
    producer.message_echo("a single short string", _key="rk")
    return producer.rpc_echo("a single short string").body["content"]["value"]


green.run(EchoProcessor())
