"""``postage run --reload``: what has changed is started again, and so is what has failed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.support import PROGRAMS, SOON, running, with_url
from tests.support.programs import Program, run_program
from tests.support.raw import raw_to

VERSIONED = """
import gevent

from postage import green


class Component{version}(green.MicroThread):
    def step(self):
        gevent.sleep(1)
"""


def test_it_reloads_what_has_changed_and_survives_mistakes(broker_env, tmp_path: Path):
    module = tmp_path / "changing.py"
    module.write_text(VERSIONED.format(version=1))
    with running("run", "changing", "--reload", cwd=tmp_path) as program:
        program.wait_for_line("Running 1 component: Component1.", SOON)
        module.write_text("a mistake")
        program.wait_for_line("has ended with exit code 2 and waits for a change", SOON)
        module.write_text(VERSIONED.format(version=2))
        program.wait_for_line("Running 1 component: Component2.", SOON)
        ended = program.terminate()

    assert ended.code == 0
    assert "SyntaxError" in ended.stderr


def test_it_looks_at_files_itself_if_the_kernel_tells_nothing(broker_env, tmp_path: Path):
    module = tmp_path / "changing.py"
    module.write_text(VERSIONED.format(version=1))
    program = PROGRAMS / "without_watches.py"
    with Program(str(program), "run", "changing", "--reload", cwd=tmp_path) as started:
        started.wait_for_line("Too many open files (os error 24)", SOON)
        started.wait_for_line("Running 1 component: Component1.", SOON)
        module.write_text(VERSIONED.format(version=2))
        os.utime(module, (time.time(), time.time() + 2))  # it compares times in whole seconds
        started.wait_for_line("Running 1 component: Component2.", SOON)
        assert started.terminate().code == 0


def impatient(*arguments: str, env: Mapping[str, str] | None = None) -> Program:
    """Return ``postage ...``, in which ``--reload`` tries again after half a second."""
    return Program("impatient.py", *arguments, env=env, cwd=PROGRAMS)


def test_reload_tries_again_when_the_broker_is_right_again(broker_env):
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.channel.queue_declare("cli-echo", durable=True, arguments={"x-max-length": 5})
        with impatient("run", "fleet:Echo", "--reload") as program:
            program.wait_for_line("has ended with exit code 5; it is started again in 0.5 s", SOON)
            raw.channel.queue_delete("cli-echo")
            program.wait_for_line("Running 1 component: Echo.", SOON)
            assert program.terminate().code == 0


@pytest.mark.parametrize("options", [("--no-wait",), ("--wait",)])
def test_reload_tries_again_until_there_is_a_broker(options: tuple[str, ...]):
    from postage.broker import BrokerThread

    with BrokerThread() as first:
        port = first.port
    env = with_url(f"amqp://guest:guest@127.0.0.1:{port}/")
    with impatient("run", "fleet:Echo", "--reload", *options, env=env) as program:
        program.wait_for_line("127.0.0.1", SOON)
        with BrokerThread(port=port):
            program.wait_for_line("Running 1 component: Echo.", SOON)
            assert program.terminate().code == 0


def test_reload_without_its_extra_says_what_to_install():
    code = (
        "import sys; sys.modules['watchfiles'] = None; from postage.cli import main\n"
        "sys.exit(main(['run', 'x', '--reload']))"
    )
    ended = run_program("-c", code)

    assert ended.code == 2
    assert (
        ended.stderr
        == "Error: --reload needs watchfiles: in a checkout of Postage, pip install '.[reload]'\n"
    )
