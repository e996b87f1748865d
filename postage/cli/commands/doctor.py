"""``postage doctor``: what is wrong with the installation, the broker, or a module."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from postage.cli.checking.doctor.diagnoses import Diagnosis, Rating, code_of_all
from postage.cli.exits import CommandFailed, print_error
from postage.cli.options import examples, json_option, seconds_option, url_option
from postage.cli.output import print_json, print_text
from postage.cli.running.targets import Target, prepare_imports
from postage.values import short_text

LONGEST_PREFIX = 100
"""Characters: the names end with random ones, and a name may have 255 bytes."""


def _target(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Target | None:
    return None if value is None else Target.parse(value)


def _prefix(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    short_text()("--prefix", value)
    if len(value) > LONGEST_PREFIX:
        raise CommandFailed(f"--prefix may have {LONGEST_PREFIX} characters")
    return value


@click.command(
    epilog=examples(
        "postage doctor                          this machine, and the usual broker",
        "postage doctor shop.orders              and what `postage check` finds",
        "postage doctor --url amqps://broker/ --json",
        "postage doctor --prefix shop-           for a user who may use such names only",
    )
)
@click.argument("target", required=False, callback=_target, metavar="[MODULE[:NAME]]")
@url_option
@seconds_option("--timeout", 5.0, "How long each step on the network may take.")
@click.option(
    "--prefix",
    default="postage-doctor-",
    show_default=True,
    callback=_prefix,
    help="How the names begin of the queue and the exchange that are tried.",
)
@json_option
def command(target: Target | None, timeout: float, prefix: str, *, as_json: bool) -> int:
    """Check the process, the addresses of the broker, the broker itself, and a module.

    Prints a line for each check: ok, warning, failed or skipped, and what to do.  On the broker a
    queue and an exchange are declared, used and removed, all within seconds.  Exit code 0: nothing
    has failed; 3: no broker can be used; 4: something else has failed.
    """
    from postage.cli.checking.doctor.patch_order import PatchWatch  # noqa: PLC0415 - `--help` does not wait for gevent
    from postage.cli.commands import run  # noqa: F401, PLC0415 - what `postage run` imports first

    watch = PatchWatch()
    prepare_imports()
    from postage.cli.checking.doctor.examination import Interrupted, examine  # noqa: PLC0415 - after patching

    watch.close()
    diagnoses: list[Diagnosis] = []
    try:
        # If the reader of our output closes it, nothing may stay on the broker.
        with closing(examine(target, watch, prefix, timeout)) as examination:
            for each in examination:
                diagnoses.append(each)
                if not as_json:
                    print_text(str(each))
    except Interrupted as exc:
        print_error("Stopped; nothing is left on the broker.")
        sys.exit(128 + exc.number)
    if as_json:
        print_json({"checks": [each.as_dict() for each in diagnoses]})
    count = sum(each.rating is Rating.FAILED for each in diagnoses)
    if count:
        text = f"{count} {'checks have' if count > 1 else 'check has'} failed"
        raise CommandFailed(text, code_of_all(diagnoses))
    return 0
