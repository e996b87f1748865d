"""All faults that the suite knows."""

from __future__ import annotations

from tests.faults.brokers import BROKERS
from tests.faults.channels import CHANNELS
from tests.faults.deaths import DEATHS
from tests.faults.fault import Fault
from tests.faults.links import LINKS

FAULTS: list[Fault] = [*LINKS, *BROKERS, *CHANNELS, *DEATHS]
