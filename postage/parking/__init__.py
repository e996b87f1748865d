"""Messages that failed: look at them, replay them, and give them another body.

``from postage import parking`` works for any queue of dead letters, ours or those of others::

    for each in parking.look("orders.parked"):
        print(each.id, each.name, each.dossier.exception)

    parking.replay("orders.parked", ["81d0c3"])

See docs/failures.md.  `failed` is pure; the rest connects when it is called, and switches.
"""

from postage.parking.failed import Dossier, FailedMessage, Group, groups
from postage.parking.looking import Look, existing_queue, find, look
from postage.parking.replaying import Replayed, replace, replay

# fmt: off
__all__ = [
    "Dossier", "FailedMessage", "Group", "Look", "Replayed", "existing_queue", "find", "groups",
    "look", "replace", "replay",
]
# fmt: on
