"""``postage ...`` for a user who has used up the watches for files that the kernel gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import watchfiles

from postage.cli import main

watch_or_poll = watchfiles.watch


def watch(*paths: Any, force_polling: bool = False, **options: Any) -> Iterator[Any]:
    """Raise what watchfiles raises then, unless the caller wants it to look at the files itself."""
    if not force_polling:
        raise OSError("Too many open files (os error 24)")
    yield from watch_or_poll(*paths, force_polling=True, **options)


watchfiles.watch = watch

if __name__ == "__main__":
    sys.exit(main())
