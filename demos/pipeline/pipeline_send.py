"""Send some orders into the pipeline."""

from postage import green

green.patch_all()  # before other imports

from pipeline_shared import Sender

from postage.cli import exit_codes

ORDERS = {"Bolt": 10, "NUT": 100, "screw": 7, "nail": 3, "washer": 0}

with exit_codes():
    sender = Sender()
    for item, count in ORDERS.items():
        sender.message_check(item=item, count=count)
    print("sent", flush=True)
