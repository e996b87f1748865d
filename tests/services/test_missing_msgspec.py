"""Programs without msgspec, and those without services."""

from __future__ import annotations

import pytest

from postage.cli.exits import install_line
from tests.support.programs import run_program


def test_without_msgspec_the_class_says_what_to_install():
    code = (
        "import sys; sys.modules['msgspec'] = None\n"
        "from postage import Service, SettingsError, rpc\n"
        "class Empty(Service): pass\n"
        "try:\n"
        "    class Stock(Service):\n"
        "        @rpc\n"
        "        def reserve(self, item: str) -> int: ...\n"
        "except SettingsError as exc:\n"
        "    print(exc)\n"
    )
    finished = run_program("-c", code)
    assert finished.stdout == (
        "typed handlers need msgspec: install it, or Postage with its extra `typed`\n"
    ), finished.stderr


def test_a_program_without_services_does_not_load_them():
    code = (
        "import sys; from postage import *; import postage.green\n"
        "from postage.messaging import MessageProcessor\n"
        "class P(MessageProcessor): pass\n"
        "print('postage.green.processor' in sys.modules, 'pydantic' in sys.modules)\n"
    )
    assert run_program("-c", code).stdout == "True False\n"
    code = (
        "import sys; import postage.messaging, postage.microthreads, postage.green.processor\n"
        "print([each for each in sys.modules if each.startswith(('postage.services', 'msgspec'))])"
    )
    assert run_program("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("words", ["stubs x.json", "html x.json", "check x.json x.json"])
def test_without_msgspec_contracts_say_what_to_install(words: str):
    call = (
        f"import sys; sys.modules['msgspec'] = None; sys.argv[1:] = ['contract', *{words.split()}]"
    )
    finished = run_program("-c", f"{call}\nfrom postage.cli import main\nsys.exit(main())")

    assert (finished.code, finished.stdout) == (2, "")
    assert finished.stderr == f"Error: a contract needs msgspec: {install_line('typed')}\n"
