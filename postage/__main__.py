"""``python -m postage``: the same as the command ``postage``."""

import sys

from postage.cli import main

sys.exit(main())
