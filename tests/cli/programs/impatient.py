"""`postage`, but `run --reload` starts again after half a second what no restart has cured."""

import sys

from postage.cli import main
from postage.cli.running import workers

workers.RETRY = 0.5
sys.exit(main())
