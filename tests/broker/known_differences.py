"""Steps in which the brokers differ on purpose, as docs/broker.md lists: no example has them."""

from __future__ import annotations

from typing import Any

from tests.broker.steps import Step


def without_odd_copies(step: Step, *, is_driving_out: bool, has_letters: bool) -> Step:
    """Avoid differences that docs/broker.md lists: return *step* without some copies.

    A ``BCC`` repeats a key; or, if *is_driving_out*, a message may drive out another one, whose
    dead letter reaches the queue of the copy; or, if the queue of the message *has_letters*, a copy
    expires at once, and may be counted still if the letter of the message itself was there first.
    """
    headers = (step.properties or {}).get("headers") or {}
    others = [step.fields.get("routing_key"), *headers.get("CC", [])]
    odd = set()
    expires_at_once = (step.properties or {}).get("expiration") == "0"
    if is_driving_out or (has_letters and expires_at_once):
        odd = {"CC", "BCC"}
    elif set(headers.get("BCC", [])).intersection(others):
        odd = {"BCC"}
    if odd.isdisjoint(headers):
        return step
    kept = {name: value for name, value in headers.items() if name not in odd}
    return step._replace(properties={**(step.properties or {}), "headers": kept})


def without_continued_counts(steps: list[Step]) -> list[Step]:
    """Avoid a difference that docs/broker.md lists: return *steps* without some delivery limits.

    RabbitMQ 4 counts on for the dead letters of a quorum queue, so the limit of another one that
    they reach, or of the same, comes sooner.
    """
    declared = [step for step in steps if "x-dead-letter-exchange" in _arguments_of(step)]
    if not any(_arguments_of(step).get("x-queue-type") == "quorum" for step in declared):
        return steps
    reached = {_target_of_letters(_arguments_of(step)) for step in declared}

    def changed(step: Step) -> Step:
        arguments = _arguments_of(step)
        is_reached = None in reached or step.fields.get("queue") in reached
        if not is_reached or "x-delivery-limit" not in arguments:
            return step
        kept = {name: value for name, value in arguments.items() if name != "x-delivery-limit"}
        return step._replace(fields=step.fields | {"arguments": kept})

    return [changed(step) for step in steps]


def without_priority_if_expired(values: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a step, without a priority if its message expires at once."""
    if values.get("expiration") == "0":
        values.pop("priority", None)
    return values


def _arguments_of(step: Step) -> dict[str, Any]:
    arguments: dict[str, Any] = step.fields.get("arguments", {})
    return arguments if step.method == "Queue.Declare" else {}


def _target_of_letters(arguments: dict[str, Any]) -> str | None:
    """Return the queue that the dead letters of a queue go to; None: it may be any."""
    is_direct = arguments["x-dead-letter-exchange"] == ""
    return arguments.get("x-dead-letter-routing-key") if is_direct else None
