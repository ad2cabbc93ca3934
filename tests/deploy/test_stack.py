"""The local stack: clear refusals, data that survives, nothing left behind."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection

from deploy.local import processes
from deploy.local.servers import HOST, RabbitMQ, Redis, StackError, exchange
from deploy.local.stack import Stack, base_port
from tests.environment import free_base
from tests.live import wait_for


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Stack]:
    """A stack that a test may break."""
    stack = Stack(tmp_path / "stack", free_base())
    yield stack
    stack.down()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_a_taken_port_is_named_with_the_variable_that_moves_it(private: Stack) -> None:
    with socket.create_server((HOST, private.redis[0].port)), pytest.raises(StackError) as refused:
        private.redis[0].start()
    assert f"Port {private.redis[0].port} " in str(refused.value)
    assert "SPRAYER_STACK_PORT" in str(refused.value)


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log(tmp_path: Path) -> None:
    class Broken(Redis):
        def command(self) -> list[str]:
            return [*super().command(), "--no-such-option", "1"]

    server = Broken("Redis", tmp_path, [free_base()])
    with pytest.raises(StackError, match="ended while starting") as refused:
        server.start()
    assert "no-such-option" in str(refused.value)
    assert not server.pid_file.exists()


@pytest.mark.parametrize("value", ["abc", "80", "65530", "-1"])
def test_a_bad_base_port_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SPRAYER_STACK_PORT", value)
    with pytest.raises(StackError, match="SPRAYER_STACK_PORT"):
        base_port()


def test_a_pid_that_went_to_another_process_is_not_ours(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    own = processes.write_pid(pid_file, 1)
    assert own and processes.read_pid(pid_file) == own
    pid_file.write_text("1 a start mark of long ago\n")
    assert processes.read_pid(pid_file) is None


def test_only_chosen_servers_belong_to_a_stack(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 20_000, kinds={"redis"})
    assert [server.name for server in stack.servers] == ["Redis 1"]
    assert stack.environment() == {
        "SPRAYER_REDIS_URLS": "redis://127.0.0.1:20002/0",
        "SPRAYER_CACHE_URL": "redis://127.0.0.1:20002/1",
    }


@pytest.mark.parametrize("restart", ["kill", "stop"])
def test_a_redis_write_survives_a_restart(private: Stack, restart: str) -> None:
    server = private.redis[0]
    server.start()
    assert exchange(server.port, b"SET kept yes\r\n") == b"+OK\r\n"
    getattr(server, restart)()
    server.start()
    assert exchange(server.port, b"GET kept\r\n") == b"$3\r\nyes\r\n"


def test_redis_keeps_an_append_only_file_and_never_evicts(private: Stack) -> None:
    server = private.redis[0]
    server.start()
    assert b"yes" in exchange(server.port, b"CONFIG GET appendonly\r\n")
    assert b"noeviction" in exchange(server.port, b"CONFIG GET maxmemory-policy\r\n")


def test_an_acknowledged_mongodb_write_survives_sigkill(private: Stack) -> None:
    private.mongo.start()
    for number in range(3):
        client: MongoClient[dict[str, Any]]
        with MongoClient(HOST, private.mongo.port, retryWrites=False) as client:
            kept: Collection[dict[str, Any]] = client["sprayer"]["kept"].with_options(
                write_concern=WriteConcern(w="majority", j=True)
            )
            kept.insert_one({"_id": number})
        private.mongo.kill()
        private.mongo.start()
        with MongoClient(HOST, private.mongo.port) as client:
            rows: list[dict[str, Any]] = client["sprayer"]["kept"].find().sort("_id").to_list()
            assert rows == [{"_id": before} for before in range(number + 1)]


def test_stopping_rabbitmq_leaves_nothing_of_it_behind(private: Stack) -> None:
    server: RabbitMQ = private.rabbitmq
    server.start()
    node, mapper = server.process(), server.epmd.process()
    assert node and mapper
    assert exchange(server.port, b"AMQP\x00\x00\x09\x01")

    server.stop()

    assert not processes.alive(node)
    assert not processes.alive(mapper)
    ports = [*server.ports, *server.epmd.ports]
    wait_for(lambda: not any(listening(port) for port in ports), 5, "the end of every listener")


def test_rabbitmq_comes_back_after_sigkill(private: Stack) -> None:
    private.rabbitmq.start()
    private.rabbitmq.kill()
    assert not listening(private.rabbitmq.port)
    private.rabbitmq.start()
    assert private.rabbitmq.ready()


@pytest.mark.services
def test_a_second_start_leaves_running_servers_alone(stack: Stack) -> None:
    before = [server.process() for server in stack.servers]
    stack.up()
    assert [server.process() for server in stack.servers] == before
    assert all(before)


@pytest.mark.services
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's table of listeners")
def test_servers_listen_on_loopback_only(stack: Stack) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listeners = {(row[1].split(":")[0], int(row[1].split(":")[1], 16)) for row in rows if row[3] == "0A"}
    own = {port for server in stack.servers for port in server.ports} | set(stack.rabbitmq.epmd.ports)
    loopback = "0100007F"
    assert {(address, port) for address, port in listeners if port in own} == {(loopback, port) for port in own}
