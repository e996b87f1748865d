"""Generic applications: processors whose keys are their name, host, process and groups."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import gevent.lock

from postage._version import __version__
from postage.addressing import Address, check_group
from postage.attributes import APPLICATION
from postage.discovery import GenericApplicationExchange
from postage.errors import ChannelRefused, IdentityTaken, PostageError, SettingsError
from postage.exchange import Exchange
from postage.fingerprint import FingerprintLike
from postage.flight_recorder import MOST_TOLD, flight_recorder
from postage.green.handling.time_limits import TIME_LIMIT
from postage.green.processor import MessageProcessor
from postage.green.producer import GenericProducer
from postage.handler_limits import limit_of
from postage.handlers import MessageHandler, RpcHandler
from postage.message import MessageResult
from postage.protocol import RESOURCE_LOCKED
from postage.recoverability import RETRY, Retry
from postage.settings import Hup, Settings
from postage.values import check_values, value_error

__all__ = ["GenericApplication", "GenericApplicationExchange", "LoggingProducerStub"]


class LoggingProducerStub:
    """A logger whose methods do nothing; assign a producer class to ``logging_producer`` to log."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        """Take the arguments of a producer."""

    def log(self, *args: Any, **kwds: Any) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # copy, pickle and debuggers look for such names
        return self.log


class _ProducerLogger:
    """A producer with the method ``log(text)``, which sends ``message_log(text)``."""

    def __init__(self, producer: GenericProducer) -> None:
        self._producer = producer

    def log(self, text: str) -> None:
        self._producer.message_log(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


# The number of the next application, by process ("{pid}@{host}").
_numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)


class GenericApplication(MessageProcessor):
    """A processor that listens to the standard queues and keys of its name, host and process.

    A key that ends with ``/rr`` reaches one of the applications in turn (round robin), any other
    key all of them:

    - ``{name}``, ``{name}/rr``: the applications of that name;
    - ``@{host}``: those on a host;
    - ``{name}@{host}``, ``{name}@{host}/rr``: those of that name on a host;
    - ``{pid}@{host}``: those of a process; ``{pid}.{n}@{host}``: the n-th of them, from 0;
    - ``{name}#{group}``, ``{name}#{group}/rr``: the members of a group.
    """

    exchange_class: type[Exchange] = GenericApplicationExchange
    logging_producer: Any = LoggingProducerStub
    """The producer class by which ``self.logger.log(text)`` sends messages."""
    max_remote_groups: int = 50
    """How many groups remote commands can make this application join until the end of its process,
    which the command ``restart`` does not end.  The durable queue of each group stays on the
    broker, because it may hold messages."""

    # The attributes of instances are declared here, so that no handler can have their names.
    vhost: str | None
    logger: Any
    address: Address
    sid: dict[str, Any]
    hid: dict[str, Any]
    uid: dict[str, Any]
    groups: list[str]
    _membership: gevent.lock.RLock
    """Held while a group is joined or left, because a command may come while another one is obeyed:
    otherwise a queue that was left could be consumed again."""
    _remote_groups: set[str]
    """The groups that remote commands have made it join in this process; it may have left them."""
    _made: float
    _inquiries: int

    def __init__(
        self,
        fingerprint: FingerprintLike | None = None,
        vhost: str | None = None,
        groups: Iterable[str] = (),
        hup: Hup | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        check_values(self, APPLICATION)
        if isinstance(groups, str) or not isinstance(groups, Iterable):  # no letters as groups
            raise value_error("groups", "a list of names", groups)
        super().__init__(fingerprint, (), hup, vhost, settings=settings)
        self._made = time.monotonic()
        self._inquiries = 0
        self.vhost = self.consumer.vhost
        self.logger = self._make_logger(hup, vhost, settings)
        self._take_address()
        self.groups, self._membership = [], gevent.lock.RLock()
        self._remote_groups = set(_remembered().get(self.address.unique_key, ()))
        try:
            self.add_eqk([(self.exchange_class, self.address.standard())])
        except ChannelRefused as exc:
            queue = self.uid["name"]
            if exc.code != RESOURCE_LOCKED or not exc.concerns(queue):
                raise
            raise IdentityTaken(exc.code, exc.text, queue=queue) from exc
        for group in groups:
            self.join_group(group)

    def _take_address(self) -> None:
        name, pid, host = (str(self.fingerprint[key]) for key in ("name", "pid", "host"))
        self.address = Address(name, pid, host, next(_numbers[f"{pid}@{host}"]))
        self.sid, self.hid, self.uid = self.address.sid, self.address.hid, self.address.uid

    def _renew(self) -> None:
        """Take the pid of the process after a fork, and the queue and keys that contain it."""
        before = self.address
        super()._renew()
        if str(self.fingerprint["pid"]) != before.pid:
            self._take_address()
            after = self.address
            keys = {before.process_key: after.process_key, before.unique_key: after.unique_key}
            self.consumer.rename_queue(before.uid["name"], after.uid["name"], keys)

    def _make_logger(self, hup: Hup | None, vhost: str | None, settings: Settings | None) -> Any:
        given = {} if settings is None else {"settings": settings}
        producer = self.logging_producer(self.fingerprint, hup, vhost, **given)
        has_log = not isinstance(producer, GenericProducer) or hasattr(producer, "log")
        return producer if has_log else _ProducerLogger(producer)

    def join_group(self, group: str) -> None:
        """Listen to the fan-out and the round-robin key of *group*; may be called twice.

        Raises `SettingsError` for a name that no group can have.  Switches.
        """
        check_group("the name of a group", group)
        with self._membership:
            if group in self.groups:
                return
            self.groups.append(group)
            self.logger.log(f"Joining group {self.address.name}#{group}")
            try:
                self.add_eqk([(self.exchange_class, self.address.group(group))])
            except PostageError:
                self.groups.remove(group)
                raise

    def leave_group(self, group: str) -> None:
        """Stop listening to *group*; its round-robin queue stays, with its messages.  Switches."""
        with self._membership:
            if group not in self.groups:
                return
            self.groups.remove(group)
            self.logger.log(f"Leaving group {self.address.name}#{group}")
            (own, fan_out), (shared, _) = self.address.group(group)
            self.consumer.queue_unbind(self.exchange_class, own, fan_out)
            # The queue is not deleted, not even if it is empty and unused: another member that has
            # ended its consumer may still have to return a message to it, and no broker tells.
            self.consumer.cancel(shared)

    def description(self, *, brief: bool = False) -> dict[str, Any]:
        """Return the reply of the RPC ``describe``: identity, groups and counts.

        ``inquiries`` counts the requests for a description or for the fingerprint.  ``uptime`` is
        in seconds, so two descriptions give rates that do not depend on the caller's clock.
        *brief* leaves out handlers, queues and docstrings, for a caller that asks hundreds of
        applications every second.
        """
        described = {
            "fingerprint": self.fingerprint,
            "key": self.address.unique_key,
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "version": __version__,
            "groups": list(self.groups),
            "statistics": dict(vars(self.statistics())),
            "inquiries": self._inquiries,
            "uptime": round(time.monotonic() - self._made, 3),
        }
        if not brief:
            described["doc"] = inspect.cleandoc(vars(type(self)).get("__doc__") or "")
            described["queues"] = [
                {"queue": queue, "key": key and str(key)} for queue, key in self.consumer.qk_list
            ]
            described["handlers"] = [
                {
                    "category": route.category,
                    "type": route.type,
                    "name": route.name,
                    "handler": attribute,
                    "doc": inspect.getdoc(getattr(self, attribute)) or "",
                    **_policies(getattr(self, attribute)),
                }
                for route, attribute in self._routes.entries
            ]
            described["failures"] = {
                "retry": _told(self.retry),
                "park": self.park or None,
                "park_calls": bool(self.park_calls),
                "max_deliveries": self.max_deliveries,
                "kill_switch": self.kill_switch and asdict(self.kill_switch),
            }
        return described

    @RpcHandler("command", "describe")
    def msg_describe(self, content: Any, reply_func: Any) -> None:
        """Reply with the description: handlers, queues, groups, statistics; ``brief``: fewer.

        ``flight``: with the last entries of the flight record of the process, too.
        """
        parameters = content.get("parameters")
        asked = parameters if isinstance(parameters, dict) else {}
        described = self.description(brief=bool(asked.get("brief")))
        if asked.get("flight"):
            described["flight"] = flight_recorder.values()[-MOST_TOLD:]
        reply_func(MessageResult(described))
        self._inquiries += 1  # after the reply, as this request is counted as handled

    @RpcHandler("command", "ping")
    def msg_ping(self, content: Any, reply_func: Any) -> None:  # noqa: ARG002
        """Reply with the fingerprint."""
        reply_func(MessageResult(self.fingerprint))
        self._inquiries += 1

    @MessageHandler("command", "join_group")
    def msg_join_group(self, content: Any) -> None:
        """Join the group in ``{"group_name": ...}``, if `remote_control` allows it.

        Refused if commands have made this application join `max_remote_groups` other groups.
        """
        group, mistake = _group_in(content)
        with self._membership:
            known = group in self.groups or group in self._remote_groups
            if not (mistake or known) and len(self._remote_groups) >= self.max_remote_groups:
                mistake = f"commands have made it join {self.max_remote_groups} groups already"
            if self._obeys("join_group", mistake) and group not in self.groups:
                self._remote_groups.add(group)
                _remember(self.address.unique_key, self._remote_groups)
                self.join_group(group)

    @MessageHandler("command", "leave_group")
    def msg_leave_group(self, content: Any) -> None:
        """Leave the group in ``{"group_name": ...}``, if `remote_control` allows it."""
        group, mistake = _group_in(content)
        if self._obeys("leave_group", mistake):
            self.leave_group(group)


def _told(policy: Retry | None) -> dict[str, Any] | None:
    """Return what `describe` tells of *policy*; None if it tries nothing again."""
    return policy.as_dict() if policy and (policy.now or policy.delays) else None


def _policies(handler: Any) -> dict[str, Any]:
    """Return what a handler has been given by decorators: its own policy, and its limits."""
    found: dict[str, Any] = {}
    if hasattr(handler, RETRY):
        found["retry"] = _told(getattr(handler, RETRY))
    limit = getattr(getattr(handler, "call", handler), TIME_LIMIT, None)
    if limit is not None:
        found["time_limit"] = limit
    limits = limit_of(handler)
    if limits is not None:
        found["limit"] = limits._asdict()
    return found


# --- a restart of the program, which replaces all but the process and its environment

_VARIABLE = "_POSTAGE_REMOTE_GROUPS"
"""Groups that commands have made applications join, as JSON, by the unique key of each.  That has
the id of the process, so the processes that this one starts do not take the groups for theirs."""
_LONGEST = 100_000
"""Characters of the variable; Linux starts no program with one of more than 131,072 bytes."""


def _remember(application: str, groups: set[str]) -> None:
    text = json.dumps(_remembered() | {application: sorted(groups)})
    if len(text) <= _LONGEST:
        os.environ[_VARIABLE] = text


def _remembered() -> dict[str, list[str]]:
    told: dict[str, list[str]] = json.loads(os.environ.get(_VARIABLE, "{}"))
    return told


def _group_in(content: dict[str, Any]) -> tuple[str, str]:
    """Return the name of the group in a command, and what is wrong with it, if anything."""
    parameters = content.get("parameters")
    group = parameters.get("group_name") if isinstance(parameters, dict) else None
    try:
        check_group("group_name", group)
    except SettingsError as exc:
        return "", str(exc)
    return str(group), ""
