"""The server of the web front: `postage run` runs it beside the services, or apart from them."""

import os

from front import make_front
from gevent.pywsgi import WSGIServer

from postage import MicroThread


class Web(MicroThread):
    def create(self) -> None:
        where = ("127.0.0.1", int(os.environ.get("SHOP_PORT", "8080")))
        self.server = WSGIServer(where, make_front(), log=None)
        self.server.start()
        print(f"the shop is open at http://127.0.0.1:{self.server.server_port}", flush=True)

    def step(self) -> None:
        self.server.serve_forever()
