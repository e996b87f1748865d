"""Run the pipeline and its suppliers in one process, until Ctrl-C."""

from postage import green

green.patch_all()  # before other imports

import check
import quote
import ship
import suppliers

from postage import microthreads
from postage.cli import exit_codes

with exit_codes():
    scheduler = microthreads.MicroScheduler()
    # The last one added stops first, so receivers are added before their senders.
    for component in (*suppliers.everybody(), ship.Ship(), quote.Quote(), check.Check()):
        scheduler.add_microthread(component)
    print("waiting for orders", flush=True)
    for _ in scheduler.main():
        pass
