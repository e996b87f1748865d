"""Five calls at once to handlers that run asyncio code, in the way that the argument names."""
# ruff: noqa: E402, T201 - it patches first, and its output is the result

import warnings

from postage import patch_all

patch_all()

import asyncio
import sys
import time

import gevent

from postage import GenericProducer, MessageProcessor, RpcHandler
from tests.support.endpoints import exchange

Place = exchange("asyncio-handlers")
GAPS = []


async def square(number):
    await asyncio.sleep(0.3)
    return number * number


class Server(MessageProcessor):
    eqk = [(Place, [("asyncio-handlers", "key")])]  # noqa: RUF012 - the classic form

    @RpcHandler("command", "plain")
    def plain(self, content, reply):
        return asyncio.run(square(content["parameters"]))

    @RpcHandler("command", "pool")
    def pool(self, content, reply):
        return gevent.get_hub().threadpool.apply(asyncio.run, (square(content["parameters"]),))


class Client(GenericProducer):
    eks = [(Place, "key")]  # noqa: RUF012 - the classic form


def watch_the_hub():
    before = time.monotonic()
    while True:
        gevent.sleep(0.01)
        GAPS.append(time.monotonic() - before)
        before = time.monotonic()


warnings.simplefilter("ignore")  # of the way "plain": coroutines that were never awaited
Server().start()
client = Client()
gevent.spawn(watch_the_hub)
calls = [getattr(client, f"rpc_{sys.argv[1]}").later(number) for number in range(5)]
results = [call.get() for call in calls]
print(sum(result.kind == "success" for result in results), len(GAPS) > 10)
print(sorted({result.value for result in results if result.kind == "exception"}))
