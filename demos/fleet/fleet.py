"""Six applications in one process sort and deliver letters, until Ctrl-C."""

from postage import green

green.patch_all()  # before other imports

import itertools

import gevent
import staff

from postage import messaging, microthreads
from postage.cli import exit_codes


class Letterbox(messaging.GenericProducer):
    """Each letter goes to the next clerk in turn."""

    eks = [(staff.Exchange, "clerk/rr")]


def post_letters(letterbox):
    for number in itertools.count(1):
        letterbox.message_sort(number=number, district=("north", "south")[number % 2])
        gevent.sleep(0.05)


with exit_codes():
    # The first one added stops last, so couriers come first: clerks can still reach them.
    couriers = [staff.Courier("north"), staff.Courier("south"), staff.Courier("north", "south")]
    scheduler = microthreads.MicroScheduler(autoquit=True)
    for application in (*couriers, *(staff.Clerk() for _ in range(3))):
        scheduler.add_microthread(application)
    posting = gevent.spawn(post_letters, Letterbox({"name": "letterbox"}))
    print("the post office is open", flush=True)
    for _ in scheduler.main():
        pass
    posting.kill()
