"""A private stack of servers under one folder: `python -m deploy.local.stack up|down|status --dir var/stack`.

RabbitMQ, Redis and MongoDB on loopback, on ports counted from a base (SPRAYER_STACK_PORT, 15600): +0 AMQP, +1 Erlang
port mapper, +2 Redis, +3 second Redis, +4 MongoDB, +5 Erlang distribution. Servers that run already are left alone.
"""

import argparse
import contextlib
import fcntl
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.servers import HOST, Mongo, RabbitMQ, Redis, Server, StackError

DEFAULT_PORT = 15600
ALL = frozenset({"rabbitmq", "redis", "mongo"})
__all__ = ["ALL", "DEFAULT_PORT", "Stack", "StackError", "base_port", "main"]


class Stack:
    """The servers under one folder. `kinds` says which of rabbitmq, redis and mongo belong to it."""

    def __init__(
        self, directory: Path, port: int = DEFAULT_PORT, shards: int = 1, kinds: Collection[str] = ALL
    ) -> None:
        if shards not in (1, 2):
            raise StackError("A stack has one Redis or two")
        self.directory = directory.absolute()
        self.port = port
        self.rabbitmq = RabbitMQ("RabbitMQ", self.directory / "rabbitmq", [port, port + 5], port + 1)
        self.redis = [
            Redis(f"Redis {shard + 1}", self.directory / f"redis{shard + 1}", [port + 2 + shard])
            for shard in range(shards)
        ]
        self.mongo = Mongo("MongoDB", self.directory / "mongodb", [port + 4])
        by_kind: dict[str, list[Server]] = {"rabbitmq": [self.rabbitmq], "redis": [*self.redis], "mongo": [self.mongo]}
        self.servers = [server for kind, servers in by_kind.items() if kind in kinds for server in servers]

    def up(self) -> None:
        """Start what is not running, all at once; when one fails, those started here end again."""
        with self._locked():
            self._note_port()
            stopped = [server for server in self.servers if not server.process()]
            try:
                with ThreadPoolExecutor(max_workers=len(self.servers) or 1) as pool:
                    list(pool.map(lambda server: server.start(), self.servers))
            except BaseException:
                self._stop(stopped)
                raise

    def down(self) -> None:
        """Stop in order. Data stays."""
        with self._locked():
            self._stop(self.servers)

    def environment(self) -> dict[str, str]:
        """The settings that point Sprayer at this stack's servers."""
        places = {
            "rabbitmq": {"SPRAYER_AMQP_URL": f"amqp://sprayer:sprayer@{HOST}:{self.rabbitmq.port}/%2F"},
            "redis": {
                "SPRAYER_REDIS_URLS": ",".join(f"redis://{HOST}:{server.port}/0" for server in self.redis),
                "SPRAYER_CACHE_URL": f"redis://{HOST}:{self.redis[0].port}/1",
            },
            "mongo": {"SPRAYER_MONGODB_URL": f"mongodb://{HOST}:{self.mongo.port}/sprayer"},
        }
        kinds = {"rabbitmq": self.rabbitmq, "redis": self.redis[0], "mongo": self.mongo}
        chosen = (urls for kind, urls in places.items() if kinds[kind] in self.servers)
        return {name: url for urls in chosen for name, url in urls.items()}

    def _note_port(self) -> None:
        """Raises StackError when servers of this folder run on other ports."""
        note = self.directory / "port"
        noted = note.read_text().strip() if note.exists() else str(self.port)
        if noted != str(self.port) and any(server.process() for server in self.servers):
            raise StackError(
                f"The servers in {self.directory} run on the ports from {noted}: "
                f"stop them first, or set SPRAYER_STACK_PORT={noted}"
            )
        note.write_text(f"{self.port}\n")

    def _stop(self, servers: Sequence[Server]) -> None:
        with ThreadPoolExecutor(max_workers=len(servers) or 1) as pool:
            list(pool.map(lambda server: server.stop(), servers))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def base_port() -> int:
    """SPRAYER_STACK_PORT. Raises StackError when it is no port with nine more above it."""
    text = os.environ.get("SPRAYER_STACK_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 1024 <= int(text) <= 65526:
        raise StackError(f"SPRAYER_STACK_PORT={text!r}: expected a port number between 1024 and 65526")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.stack", description="Start or stop a local stack.")
    parser.add_argument("action", choices=["up", "down", "status"])
    parser.add_argument("--dir", type=Path, default=Path("var/stack"), help="its folder (default: var/stack)")
    parser.add_argument("--port", type=int, help="the first of its ports (default: SPRAYER_STACK_PORT or 15600)")
    parser.add_argument("--shards", type=int, default=1, help="how many Redis servers: 1 or 2")
    options = parser.parse_args(arguments)
    try:
        stack = Stack(options.dir, options.port or base_port(), options.shards)
        if options.action == "up":
            stack.up()
        elif options.action == "down":
            stack.down()
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    for server in stack.servers:
        process = server.process()
        state = f"running, pid {process.pid}" if process else "stopped"
        print(f"{server.name:10} {HOST}:{server.port}  {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
