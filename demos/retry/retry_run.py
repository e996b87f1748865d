"""Pay while the bank is away for a moment, and for longer; then look at what was parked."""

from postage import green

green.patch_all()  # before other imports

import logging

from payments import Customer, Payments

from postage import parking
from postage.cli import exit_codes
from postage.testing import wait_until

PARKED = "payments.parked"


with exit_codes():
    payments, customer = Payments(), Customer()
    logging.disable(logging.ERROR)  # the log would show a traceback for each message that failed
    payments.start()
    payments.bank.away = 4  # the next four transfers fail
    customer.message_pay("landlord")
    wait_until(lambda: "landlord" in payments.paid)
    customer.message_pay("nobody")
    wait_until(lambda: payments.counts["parked"] > 0)
    payments.bank.away = 100
    customer.message_pay("tax office")
    wait_until(lambda: payments.counts["parked"] > 1)
    for each in parking.look(PARKED):
        print(f"parked, tries: {each.dossier.attempts}: {each.dossier.text}", flush=True)
    payments.bank.away = 0
    replayed = parking.replay(PARKED, lambda each: "ConnectionError" in each.dossier.exception)
    print(f"replayed: {replayed.count}, still parked: {replayed.left}", flush=True)
    wait_until(lambda: "tax office" in payments.paid)
    payments.stop()
