"""The AsyncAPI 3.0 document of services: what they take, answer and publish.  Pure.

How it works
------------
A document is made from classes, or from processors.  Each handler is an *operation*, with the
message that it takes and, for a call, the messages that may answer it.  The payload of a message is
the whole body, as it is on the wire (docs/messages.md), not only the arguments, so that a program
in another language can send it.

Stubs and checks also need what AsyncAPI has no place for.  Keys ``x-postage`` have it: the names of
services and messages, the order of parameters, and the bindings of queues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postage._version import __version__
from postage.addressing import Binding, bindings_of
from postage.errors import SettingsError
from postage.exchange import Exchange
from postage.green.processor import MessageProcessor
from postage.handlers import Route
from postage.message import ERROR
from postage.services.contract.examples import example_of
from postage.services.contract.payloads import (
    FINGERPRINT,
    FINGERPRINT_KEY,
    classic_payload,
    command_payload,
    exception_payload,
    parameters_of,
    result_payload,
    status_payload,
)
from postage.services.contract.schemas import SCHEMAS, Json, JsonSchemas, plain_key, text_of_doc
from postage.services.decorators import Kind, Mark
from postage.services.signatures import Signature

__all__ = ["FORMAT", "Served", "document_of"]

FORMAT = 1
"""The version of what is in ``x-postage``; a reader refuses a higher one."""
_TYPES = frozenset({"topic", "direct", "fanout", "headers"})
"""The types of exchanges that the AMQP binding of AsyncAPI knows."""
_BAD_PARAMETERS = "The parameters do not fit; the handler did not run.  The text is `PATH: REASON`."
_PART = "A part of a stream.  The property `type` is `postage.part`; see docs/messages.md."
_END = "The end of a stream.  The property `type` is `postage.end`; see docs/messages.md."
_OTHER_FAILURE = "Any other exception: its name and its text, as the service exposes them."
_ERROR = "An error that the handler returned as MessageResultError."


@dataclass
class Served:
    """A component that a contract describes."""

    kind: type[MessageProcessor]
    bindings: Sequence[Binding] = ()
    """Where it listens; empty: unknown."""
    marks: Mapping[str, tuple[Mark, ...]] = field(default_factory=dict)
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    publishes: Sequence[type] = ()

    @classmethod
    def of(cls, component: MessageProcessor | type[MessageProcessor]) -> Served:
        """Return what is known of *component*, which is a class or an instance."""
        is_class = isinstance(component, type)
        kind = component if isinstance(component, type) else type(component)
        found: Any = bindings_of(kind.eqk) if is_class else component.consumer.bindings
        typed: Any = kind  # a classic processor has none of these
        return cls(
            kind,
            tuple(found),
            getattr(typed, "marks", {}),
            getattr(typed, "signatures", {}),
            getattr(typed, "publishes", ()),
        )

    @property
    def name(self) -> str:
        """The name of the component in contracts."""
        return self.kind.__qualname__.rpartition("<locals>.")[2]

    @property
    def title(self) -> str:
        """Where the class is defined, for error messages."""
        return f"{self.kind.__module__}.{self.kind.__qualname__}"

    def hints(self) -> Iterator[Any]:
        """Yield the hints of all that the component takes, answers and publishes."""
        for signature in self.signatures.values():
            yield from (each.hint for each in signature.parameters)
            yield signature.returns
        yield from self.publishes

    def classic(self) -> Iterator[tuple[Route, str]]:
        """Yield the classic handlers, except those that Postage gives to every processor."""
        for route, attribute in self.kind.route_table.entries:
            owner = getattr(getattr(self.kind, attribute), "__module__", "")
            is_adapter = " (" in attribute  # see `service`
            if not is_adapter and not owner.startswith("postage."):
                yield route, attribute


def document_of(
    components: Iterable[Served], *, title: str, version: str = "0.0.0", description: str = ""
) -> Json:
    """Return the AsyncAPI document of *components*, with their *version* and *description*.

    Raises `SettingsError` if two components have the same name, or msgspec is not installed.
    """
    served = list(components)
    for name, count in Counter(each.name for each in served).items():
        if count > 1:
            places = " and ".join(each.title for each in served if each.name == name)
            raise SettingsError(f"two components are called {name}, {places}: export one of them")
    schemas = JsonSchemas(hint for each in served for hint in each.hints())
    made = _DocumentParts(schemas)
    for each in served:
        _ComponentWriter(made, each).write()
    info = {"title": title, "version": version, "description": description}
    return {
        "asyncapi": "3.0.0",
        "info": {name: text for name, text in info.items() if text},
        "defaultContentType": "application/json",
        "channels": made.channels,
        "operations": made.operations,
        "components": {
            "messages": made.messages,
            "schemas": {**made.schemas, **dict(sorted(schemas.named.items()))},
        },
        "x-postage": {"format": FORMAT, "version": __version__, "services": made.services},
    }


class _DocumentParts:
    """The parts of a document, to which the writers of services add theirs."""

    def __init__(self, types: JsonSchemas) -> None:
        self.types = types
        self.channels: Json = {}
        self.operations: Json = {}
        self.messages: Json = {}
        self.schemas: Json = {FINGERPRINT_KEY: FINGERPRINT}
        self.services: Json = {}


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """Return *name* as a key that *taken* does not have yet."""
    name = key = plain_key(name)
    number = 1
    while key in taken:
        number += 1
        key = f"{name}-{number}"
    return key


class _ComponentWriter:
    """Adds one component to a document."""

    def __init__(self, document: _DocumentParts, served: Served) -> None:
        self._to, self._served = document, served

    def write(self) -> None:
        """Add the component."""
        served = self._served
        self._to.services[served.name] = {
            "class": served.title,
            "doc": text_of_doc(served.kind),
            "bindings": [_told(each) for each in served.bindings],
        }
        for name, marks in served.marks.items():
            for mark in marks:
                self._add_typed(name, mark)
        for route, attribute in served.classic():
            self._add_classic(route, attribute)
        for kind in served.publishes:
            self._add_published(kind)

    # --- the sorts of operations

    def _add_typed(self, method: str, mark: Mark) -> None:
        signature = self._served.signatures[method]
        name = mark.name or method
        doc = text_of_doc(getattr(self._served.kind, method))
        told: Json = {"kind": mark.kind.value, "name": name, "method": method}
        if mark.kind is Kind.EVENT:
            told["event"] = schema = self._to.types.of(mark.event)
            message = _message(name, status_payload(name, schema), text_of_doc(mark.event))
            self._add(told, message, doc, {})
            return
        parameters = parameters_of(signature, self._to.types)
        key = _unused(f"{self._served.name}.{name}", self._to.schemas)
        self._to.schemas[key] = parameters.record
        payload = command_payload(name, mark.kind.value, parameters, SCHEMAS + key)
        told["parameters"] = [each.told() for each in parameters.items]
        told["schema"] = key
        replies = {}
        if mark.kind is Kind.RPC:
            told["result"] = result = self._to.types.of(signature.returns)
            told["raises"] = [each.__name__ for each in mark.raises]
            told["streams"] = signature.streams
            replies = self._replies(name, result, mark, streams=signature.streams)
        self._add(told, _message(name, payload, doc), doc, replies)

    def _replies(self, name: str, result: Json, mark: Mark, *, streams: bool) -> Json:
        replies = {"success": _message(f"{name}: success", result_payload(result), "")}
        if streams:
            end = _message(f"{name}: end", result_payload({"type": "null"}), _END)
            replies = {"part": _message(f"{name}: part", result_payload(result), _PART), "end": end}
        errors = {each.__name__: text_of_doc(each) for each in mark.raises}
        errors.setdefault("BadParameters", _BAD_PARAMETERS)
        for error, doc in errors.items():
            replies[error] = _message(error, exception_payload(error), doc)
        other = exception_payload(None, others=errors)
        replies["exception"] = _message("exception", other, _OTHER_FAILURE)
        if not (result or streams):  # a handler of any result may answer with an error
            replies["error"] = _message("error", exception_payload(None, ERROR), _ERROR)
        return replies

    def _add_classic(self, route: Route, attribute: str) -> None:
        doc = text_of_doc(getattr(self._served.kind, attribute))
        is_call = route.category == "rpc"
        told: Json = {
            "kind": "rpc" if is_call else "message",
            "name": route.name,
            "type": route.type,
            "method": attribute,
        }
        replies = {}
        if is_call:
            replies["success"] = _message("success", result_payload({}), "")
            replies["error"] = _message("error", exception_payload(None, ERROR), _ERROR)
            replies["exception"] = _message("exception", exception_payload(None), _OTHER_FAILURE)
        message = _message(route.name or "any name", classic_payload(route), doc)
        self._add(told, message, doc, replies)

    def _add_published(self, kind: type) -> None:
        name = kind.__name__
        doc = text_of_doc(kind)
        schema = self._to.types.of(kind)
        exchange = getattr(self._served.kind, "exchange", Exchange).name
        told: Json = {"kind": "publishes", "name": name, "event": schema, "exchange": exchange}
        self._add(told, _message(name, status_payload(name, schema), doc), doc, {})

    # --- operations, messages and channels

    def _add(self, told: Json, message: Json, doc: str, replies: Mapping[str, Json]) -> None:
        name = told["name"] or told["method"]
        key = _unused(f"{self._served.name}.{name}", self._to.operations)
        self._exemplify(message)
        self._to.messages[key] = message
        channel = self._channel(told)
        channel["messages"][key] = {"$ref": f"#/components/messages/{key}"}
        at = f"#/channels/{channel['x-postage']['key']}"
        operation: Json = {
            "action": "send" if told["kind"] == "publishes" else "receive",
            "channel": {"$ref": at},
            "messages": [{"$ref": f"{at}/messages/{key}"}],
            **({"summary": doc.splitlines()[0], "description": doc} if doc else {}),
            "x-postage": {"service": self._served.name, **told},
        }
        if replies:
            operation["reply"] = self._reply(key, replies)
        self._to.operations[key] = operation

    def _reply(self, key: str, replies: Mapping[str, Json]) -> Json:
        """Add the channel of the replies of an operation, and return its reply object."""
        messages = {}
        for name, message in replies.items():
            each = _unused(f"{key}.reply.{name}", self._to.messages)
            self._exemplify(message)
            self._to.messages[each] = message
            messages[each] = {"$ref": f"#/components/messages/{each}"}
        channel = _unused(f"{key}.reply", self._to.channels)
        self._to.channels[channel] = {
            "address": None,
            "title": f"The replies of {key}",
            "description": "The queue that the property reply_to of the request names.",
            "messages": messages,
            "x-postage": {"key": channel},
        }
        return {
            "address": {
                "location": "$message.header#/replyTo",
                "description": "The property reply_to; a server copies the correlation_id, too.",
            },
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{each}"} for each in messages],
        }

    def _exemplify(self, message: Json) -> None:
        """Add an example to *message*, if one can be made."""
        example = example_of(message["payload"], {**self._to.schemas, **self._to.types.named})
        if example is not None:
            message["examples"] = [{"payload": example}]

    def _channel(self, told: Json) -> Json:
        """Return the channel on which a message arrives, or is sent."""
        exchange, key = self._place(told)
        base = self._served.name
        if told["kind"] in {"event", "publishes"}:
            base = f"{base}.{told['kind']}.{told['name']}"
        key_of_channel = plain_key(base)
        if key_of_channel not in self._to.channels:
            channel: Json = {
                "address": key,
                "title": self._served.name,
                "messages": {},
                "x-postage": {"key": key_of_channel},
            }
            if exchange is not None:
                parameters, type_ = exchange.parameters, exchange.exchange_type
                channel["bindings"] = {
                    "amqp": {
                        "is": "routingKey",
                        "exchange": {
                            "name": exchange.name,
                            **({"type": type_} if type_ in _TYPES else {"x-type": type_}),
                            "durable": parameters["durable"],
                            "autoDelete": parameters["auto_delete"],
                        },
                        "bindingVersion": "0.3.0",
                    }
                }
            else:
                channel["description"] = "Where the component listens is known when it is made."
            self._to.channels[key_of_channel] = channel
        found: Json = self._to.channels[key_of_channel]
        return found

    def _place(self, told: Json) -> tuple[Any, str | None]:
        """Return the exchange and the routing key of a message; None if they are unknown."""
        if told["kind"] == "publishes":
            return getattr(self._served.kind, "exchange", None), told["name"]
        bindings = self._served.bindings
        if not bindings:
            return None, None
        chosen = bindings[0]
        if told["kind"] == "event":
            chosen = next((each for each in bindings if each.key == told["name"]), chosen)
        return chosen.exchange, chosen.routing_key


def _message(name: str, payload: Json, doc: str) -> Json:
    described = {"summary": doc.splitlines()[0], "description": doc} if doc else {}
    return {
        "name": name,
        **described,
        "contentType": "application/json",
        "payload": payload,
    }


def _told(binding: Binding) -> Json:
    queue, key = binding.lasting_names
    parameters = binding.exchange.parameters
    return {
        "exchange": binding.exchange.name,
        "exchange_type": binding.exchange.exchange_type,
        "durable": parameters["durable"],
        "auto_delete": parameters["auto_delete"],
        "queue": queue,
        "key": key,
    }
