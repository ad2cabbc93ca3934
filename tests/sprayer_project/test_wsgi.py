"""The server that runs the console and the REST API in production: what it must do right beside calling the app."""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from messaging.documents import Message
from subscriptions.services import put_receiver
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, WsgiServer, wait_for

pytestmark = pytest.mark.services

BODY = {"to": {"receivers": ["alice"]}, "channels": ["websocket"], "content": {"title": "Hi"}}
_CLIENTS = 8


@pytest.fixture
def server(live_system: LiveSystem, acme: TenantUnderTest) -> Iterator[WsgiServer]:
    put_receiver("acme", "alice")
    started = WsgiServer(live_system.folder)
    live_system.processes.append(started)
    started.launch()
    started.wait_ready()
    yield started


@pytest.fixture
def client(server: WsgiServer, acme: TenantUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=str(server.url), headers=acme.headers(), trust_env=False, timeout=30) as made:
        yield made


def workers(server: WsgiServer) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def test_bodies_of_unknown_length_and_too_large_ones_are_refused_in_words(client: httpx.Client) -> None:
    assert client.post("/api/v1/messages", json=BODY).status_code == 202
    typed = {"Content-Type": "application/json"}
    chunked = client.post("/api/v1/messages", content=iter([b"{", b"}"]), headers=typed)
    assert (chunked.status_code, chunked.json()["code"]) == (411, "length_required")
    large = client.post("/api/v1/messages", content=b" " * (4 * 1024 * 1024 + 1), headers=typed)
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    assert client.post("/api/v1/messages", json=BODY).status_code == 202


def test_a_worker_that_is_killed_is_replaced(server: WsgiServer, client: httpx.Client) -> None:
    before = workers(server)
    assert len(before) >= server.WORKERS
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(workers(server)) - set(before)) >= server.WORKERS, 20, "other workers")
    wait_for(lambda: accepted(client), 20, "a message that is accepted")


def test_whoever_is_served_when_it_stops_gets_an_answer(server: WsgiServer, acme: TenantUnderTest) -> None:
    answers, over = Counter[int](), threading.Event()

    def load() -> None:
        while not over.is_set():
            try:
                post = httpx.post(
                    f"{server.url}/api/v1/messages", json=BODY, headers=acme.headers(), trust_env=False, timeout=30
                )
                answers[post.status_code] += 1
            except httpx.TransportError:  # refused, or in the queue of the socket that closed
                return

    clients = [threading.Thread(target=load) for _ in range(_CLIENTS)]
    try:
        for one in clients:
            one.start()
        wait_for(lambda: answers[202] >= 3 * _CLIENTS, 30, "requests")
        server.stop()
    finally:
        over.set()
        for one in clients:
            one.join()
    assert answers == {202: Message.objects.count()}


def accepted(client: httpx.Client) -> bool:
    try:
        return client.post("/api/v1/messages", json=BODY).status_code == 202
    except httpx.TransportError:
        return False
