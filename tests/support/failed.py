"""Messages of queues of dead letters, made without a broker."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from postage.green.amqp.properties import Properties
from postage.green.handling.without_broker import made_delivery
from postage.message import MessageCommand
from postage.parking import FailedMessage

#: What would leave a string, a comment or a docstring, if it could.
HOSTILE = (
    '"""',
    "'''",
    "\\",
    "\n",
    "\r",
    "\r\nraise SystemExit\r\n",
    "\x0c\x0b\x1c\x85\u2028\u2029",
    '"""\nimport os\n"""',
    "'); print('x') #",
    "{x}",
    "%s",
    "\\N{BULLET}\\x41\\u0041\\",
    "\udcff\ud800",
    "\0",
    "# -*- coding: utf-7 -*-",
    "+AAo-raise SystemExit",
    "\u202e\u2066\u3164\ufe0f\U000e0101",
    "\U0001f600é",
    "\ufeff",
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=20,
)


def body_of(name: str = "order", parameters: Any = None) -> bytes:
    """Return the body of a command."""
    return json.dumps(MessageCommand(name, parameters).body).encode()


def failed(
    body: bytes = b"", headers: dict[str, Any] | None = None, **properties: Any
) -> FailedMessage:
    """Return a message of the queue ``orders.parked``."""
    delivery = made_delivery(
        body,
        Properties(headers=headers or {}, **properties),
        queue="orders.parked",
        exchange="",
        routing_key="orders.parked",
        redelivered=False,
    )
    return FailedMessage.of("orders.parked", 1, delivery)
