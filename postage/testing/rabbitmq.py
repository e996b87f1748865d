"""A private RabbitMQ node: own directory, own ports, own cookie, own epmd, on 127.0.0.1 only.

It uses the standard library only, and its calls block: use it in a process that is not
monkey-patched.  It needs the programs of RabbitMQ, see `postage.testing.installations`, and runs as
any user.  It leaves the system's own node and its configuration alone.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import itertools
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from postage.testing.installations import program
from postage.testing.processes import end, kill_group, orphan_proof, wait_blocking

PORTS = range(20_000, 32_000)
"""Below the kernel's ephemeral range: no outgoing connection takes the port of a stopped node."""
MEMORY, ROOM = Path("/dev/shm"), 4 << 30  # noqa: S108  # nosec B108 - mkdtemp makes a private folder there
"""The file system in memory, and the bytes that must be free in it before a node uses it."""
LOOPBACK_DISTRIBUTION = "-kernel inet_dist_use_interface {127,0,0,1}"
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
CONNECTION_START = (b"\x01\x00\x00", b"\x00\x0a\x00\x0a")
"""The first bytes of Connection.Start: method frame, channel 0, any length, class 10, method 10."""

CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = false
log.file = node.log
loopback_users.guest = true
disk_free_limit.absolute = 20MB
load_definitions = {definitions}
"""

ADVANCED_CONFIGURATION = """\
[{{rabbit, [{{permit_deprecated_features, #{{transient_nonexcl_queues => {permitted}}}}}]}}].
"""
"""In this form of configuration, unlike in the other, versions ignore what they do not know."""

TLS_CONFIGURATION = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {tls.cacertfile}
ssl_options.certfile = {tls.certfile}
ssl_options.keyfile = {tls.keyfile}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
"""

Logins = Mapping[str, tuple[str, Iterable[str]]]
"""Users by name, each with a password and the virtual hosts in which the user has all rights."""


class TlsFiles(NamedTuple):
    """Certificates (PEM) of a node: the authorities that it trusts, and its own with its key."""

    cacertfile: Path
    certfile: Path
    keyfile: Path


class RabbitMQFailed(RuntimeError):
    """The node did not start, or ``rabbitmqctl`` failed; the text ends with the log or output."""


def reserve(port: int) -> bool:
    """Reserve *port* for this process; return False if it is reserved, or a program listens on it.

    The reservation is an abstract socket of Linux.  The kernel gives it to one process only, and
    removes it with the process, however that ends.
    """
    with socket.socket() as probe, socket.socket(socket.AF_UNIX) as claim:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            claim.bind(f"\0postage-port-{port}")
        except OSError:
            return False
        claim.detach()  # open for as long as the process lives
    return True


def free_ports(count: int) -> list[int]:
    """Return *count* different ports of 127.0.0.1 on which no program listens.

    They stay reserved for this process until it ends, whether something listens on them or not:
    other test runs, and other workers of this run, get other ports.
    """
    candidates = random.sample(PORTS, len(PORTS))
    return list(itertools.islice(filter(reserve, candidates), count))


def speaks_amqp(port: int) -> bool:
    """Return whether a broker on *port* answers the protocol header with Connection.Start."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as client:
            client.settimeout(2.0)
            client.sendall(PROTOCOL_HEADER)
            answer = client.recv(11, socket.MSG_WAITALL)
    except OSError:
        return False
    return (answer[:3], answer[7:]) == CONNECTION_START


def accepts_tcp(port: int) -> bool:
    """Return whether a program listens on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


class RabbitMQNode:
    """One node and its epmd; ``with RabbitMQNode() as node:`` starts it, and removes all its data.

    It has the virtual hosts ``/`` and *vhosts*.  ``guest``/``guest`` has all rights in them;
    *logins* adds other users.  With *tls* the node also speaks TLS, on `tls_port`; the mechanism
    EXTERNAL then logs a client in as the user named by the common name of its certificate.

    *transient_queues* says whether clients may declare queues that are neither durable nor
    exclusive.  By default they may not, as on RabbitMQ 4.3.  Debian's package of RabbitMQ 4.3
    permits such queues, so a test that passes there could fail in production.  RabbitMQ 3.10 always
    permits them.
    *configuration* is added to the file ``rabbitmq.conf``.

    The data is in memory if there is much of it (`MEMORY`, `ROOM`), or else on disk, where each
    declaration and each confirm waits for the disk: several times as long.

    All methods block the calling thread.  Call `start` from a thread that lives as long as the
    node: the kernel kills the node when that thread ends.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        vhosts: Iterable[str] = (),
        logins: Logins | None = None,
        *,
        tls: TlsFiles | None = None,
        transient_queues: bool = False,
        configuration: str = "",
    ) -> None:
        self._definitions = _definitions(vhosts, logins)
        self._tls = tls
        self._transient_queues = transient_queues
        self._configuration = configuration
        self.port, self.tls_port, self._dist_port, self._epmd_port = free_ports(4)
        self.name = f"postage{self.port}@localhost"
        self.base: Path | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<RabbitMQNode {self.name} {'running' if self.running else 'stopped'}>"

    def __enter__(self) -> RabbitMQNode:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the node's process runs; it may still be starting."""
        return self._node is not None and self._node.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the Erlang VM, for signals."""
        assert self._node is not None, f"{self!r} does not run"
        return self._node.pid

    def start(self, within: float = 60.0) -> None:
        """Start the node, with its old data if it has run before; return when clients can connect.

        Raises `RabbitMQFailed` if it ends, or takes over *within* seconds.
        """
        assert not self.running, f"{self!r} cannot be started twice"
        server, epmd = program("rabbitmq-server"), program("epmd")
        atexit.register(self.close)
        base = self._prepare()
        if self._epmd is None or self._epmd.poll() is not None:
            where = ("-port", str(self._epmd_port), "-address", self.host)
            self._epmd = self._spawn(base, epmd, *where)
        self._node = self._spawn(base, server)
        if not wait_blocking(lambda: not self.running or self._is_ready(), within):
            self._fail(f"did not speak AMQP within {within} s")
        if not self.running:
            self._fail(f"ended with exit code {self._node.returncode}")

    def _is_ready(self) -> bool:
        # The node opens the port for TLS after the other one.
        return speaks_amqp(self.port) and (self._tls is None or accepts_tcp(self.tls_port))

    def stop(self, within: float = 20.0) -> None:
        """Stop node and epmd in order, and kill them after *within* seconds; the data stays."""
        if self._node is not None:
            end(self._node, within)
            self._kill_group(self._node)
        if self._epmd is not None:
            end(self._epmd)
            self._epmd = None

    def kill(self) -> None:
        """Kill the node with SIGKILL, as a crash would; epmd and data stay, and `start` works."""
        assert self._node is not None, f"{self!r} does not run"
        self._node.kill()
        self._node.wait()
        self._kill_group(self._node)

    def _kill_group(self, node: subprocess.Popen[bytes]) -> None:
        """Kill the programs that the VM *node*, which has ended, has started; forget its pid."""
        kill_group(node.pid)
        self._node = None  # another process may get the pid

    def close(self) -> None:
        """Kill the node, stop its epmd, and remove the data; may be called twice.

        To stop the node in order would take seconds, to write data that is removed at once.
        """
        atexit.unregister(self.close)
        if self.running:
            self.kill()
        self.stop()
        if self.base is not None:
            shutil.rmtree(self.base, ignore_errors=True)
            self.base = None

    def log_text(self) -> str:
        """Return the logs of node and epmd so far."""
        return "".join(self._logs())

    def _logs(self) -> list[str]:
        assert self.base is not None, "the node has not been started"
        logs = self.base / "output.log", self.base / "log" / "node.log"
        return [log.read_text(errors="replace") for log in logs if log.exists()]

    def ctl(self, *args: str, within: float = 30.0) -> str:
        """Run ``rabbitmqctl`` with *args* for this node; return its output after about 1.5 s.

        Raises `RabbitMQFailed` with the error that it prints.
        """
        assert self.running, f"{self!r}: rabbitmqctl needs a running node"
        assert self.base is not None
        command = [program("rabbitmqctl"), "--quiet", "--node", self.name, *args]
        env = self._environment(self.base)
        try:
            return subprocess.check_output(
                command, env=env, stderr=subprocess.PIPE, timeout=within, text=True
            )
        except subprocess.CalledProcessError as exc:
            raise RabbitMQFailed(f"{exc} It printed: {exc.stderr}") from exc

    def connections(self, *columns: str) -> list[dict[str, Any]]:
        """Return a dict for each AMQP connection; *columns* are those of ``list_connections``."""
        columns = columns or ("name", "user", "vhost", "state", "channels", "client_properties")
        rows: list[dict[str, Any]] = json.loads(
            self.ctl("list_connections", "--formatter", "json", *columns)
        )
        return rows

    def add_vhosts(self, names: Iterable[str]) -> None:
        """Make more virtual hosts, in which guest has all rights; takes about two seconds in all.

        Raises `RabbitMQFailed` with the error that ``rabbitmqctl`` prints.
        """
        assert self.base is not None, "the node has not been started"
        file = self.base / "more-vhosts.json"
        file.write_text(json.dumps(_definitions(names, None) | {"users": []}))
        self.ctl("import_definitions", str(file))

    def _prepare(self) -> Path:
        if self.base is None:
            self.base = base = Path(tempfile.mkdtemp(prefix="postage-rabbitmq-", dir=_data()))
            for folder in ("mnesia", "log"):
                (base / folder).mkdir()
            cookie = base / ".erlang.cookie"
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
            known = base / "definitions.json"
            known.write_text(json.dumps(self._definitions, indent=1))
            configuration, plugin = CONFIGURATION.format(port=self.port, definitions=known), ""
            if self._tls is not None:
                configuration += TLS_CONFIGURATION.format(port=self.tls_port, tls=self._tls)
                plugin = "rabbitmq_auth_mechanism_ssl"
            (base / "rabbitmq.conf").write_text(configuration + self._configuration)
            permitted = str(self._transient_queues).lower()
            advanced = ADVANCED_CONFIGURATION.format(permitted=permitted)
            (base / "advanced.config").write_text(advanced)
            (base / "plugins").write_text(f"[{plugin}].\n")
        return self.base

    def _environment(self, base: Path) -> dict[str, str]:
        foreign = ("RABBITMQ_", "ERL_", "NOTIFY_SOCKET")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        own = {
            "HOME": base,  # Erlang looks for the cookie there
            "LC_ALL": "C.UTF-8",  # rabbitmqctl warns under other encodings
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_DIST_PORT": self._dist_port,
            "RABBITMQ_CONFIG_FILE": base / "rabbitmq",
            "RABBITMQ_ADVANCED_CONFIG_FILE": base / "advanced.config",
            "RABBITMQ_MNESIA_BASE": base / "mnesia",
            "RABBITMQ_LOG_BASE": base / "log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": base / "plugins",
            "RABBITMQ_PID_FILE": base / "pid",
            "RABBITMQ_GENERATED_CONFIG_DIR": base / "generated",
            "RABBITMQ_SCHEMA_DIR": base / "schema",
            # With these two, the start script replaces itself by the VM, so we signal the VM's pid.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {LOOPBACK_DISTRIBUTION}",
        }
        return inherited | {key: str(value) for key, value in own.items()}

    def _spawn(self, base: Path, *command: str) -> subprocess.Popen[bytes]:
        with (base / "output.log").open("ab") as output:
            return subprocess.Popen(
                orphan_proof(list(command)),
                cwd=base,
                env=self._environment(base),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal must reach us, not the node
            )

    def _fail(self, problem: str) -> None:
        log = "".join(text[-6000:] for text in self._logs())
        self.close()
        message = f"the RabbitMQ node {self.name} {problem}; its log ends with:\n{log}"
        raise RabbitMQFailed(message)


def _data() -> Path | None:
    """Return the folder for the data of a node; None: the one for temporary files."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    return MEMORY if has_room and os.access(MEMORY, os.W_OK) else None


def _definitions(vhosts: Iterable[str], logins: Logins | None) -> dict[str, Any]:
    """Return the definitions file: the node loads it when it starts, and so has all its users.

    ``rabbitmqctl`` would take over a second for each user, virtual host and permission.
    """
    names = ["/", *vhosts]
    users = {"guest": ("guest", names), **(logins or {})}
    others = ("parameters", "policies", "queues", "exchanges", "bindings")
    return {name: [] for name in others} | {
        "users": [
            {
                "name": name,
                "password_hash": _password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator" if name == "guest" else "",
            }
            for name, (password, _) in users.items()
        ],
        "vhosts": [{"name": name} for name in names],
        "permissions": [
            {"user": name, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
            for name, (_, allowed) in users.items()
            for vhost in allowed
        ],
    }


def _password_hash(password: str) -> str:
    """Return RabbitMQ's form of *password*: base64 of a 4-byte salt and sha256(salt + password)."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
