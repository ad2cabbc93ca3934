"""Posts in one piece against real servers: what arrives, and that no task was needed for it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from messaging.sandbox.apns import certificates
from sprayer_project.posting import Post
from tests.sprayer_project.test_outbound import server


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(body=body, headers={"X-Length": request.headers.get("Content-Length", "none")})


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(request_class=Post, headers={"Content-Type": "application/json"}) as made:
        yield made


@asynccontextmanager
async def counted_tasks() -> AsyncIterator[list[str]]:
    """The names of the coroutines that become tasks meanwhile."""
    loop, made = asyncio.get_running_loop(), list[str]()

    def factory(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        made.append(getattr(coro, "__qualname__", ""))
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)  # type: ignore[arg-type]  # typeshed wants a generator, too
    try:
        yield made
    finally:
        loop.set_task_factory(None)


def written(tasks: list[str]) -> list[str]:
    return [name for name in tasks if name.endswith("write_bytes")]


async def test_a_short_body_arrives_with_its_head_and_without_a_task() -> None:
    got: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            got.append(data)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/a%20b?c=d"
    async with listening, session() as http, counted_tasks() as tasks:
        for number in range(3):
            async with http.post(url, data=b'{"n":%d}' % number, headers={"X-Own": "yes"}) as reply:
                assert reply.status == 204
    assert len(got) == 3 and not written(tasks)
    for number, data in enumerate(got):
        head, _, body = data.partition(b"\r\n\r\n")
        line, *headers = head.split(b"\r\n")
        assert line == b"POST /a%20b?c=d HTTP/1.1"
        assert {b"Content-Type: application/json", b"Content-Length: 7", b"X-Own: yes"} <= set(headers)
        assert body == b'{"n":%d}' % number


async def test_many_at_once_get_each_its_own_answer() -> None:
    async with server(echo) as port, session() as http:

        async def post(number: int) -> bytes:
            async with http.post(f"http://127.0.0.1:{port}/", data=b"%d" % number) as reply:
                return await reply.read()

        for _ in range(2):
            assert await asyncio.gather(*map(post, range(200))) == [b"%d" % number for number in range(200)]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_over_tls_and_under_each_loop_it_is_the_same(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    serving, authority = certificates(["127.0.0.1"])
    trusting = ssl.create_default_context(cadata=authority)

    async def talk() -> None:
        application = web.Application()
        application.router.add_post("/", echo)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/"

        async def post(number: int) -> bytes:
            async with http.post(url, data=b"%d" % number, ssl=trusting) as reply:
                return await reply.read()

        async with session() as http, counted_tasks() as tasks:
            for _ in range(2):
                assert await asyncio.gather(*map(post, range(50))) == [b"%d" % number for number in range(50)]
            assert not written(tasks)
        await runner.cleanup()

    run(talk())


@pytest.mark.parametrize(
    ("body", "arrives", "tasks"),
    [
        (b"x" * 65_536, b"x" * 65_536, 0),
        (b"x" * 65_537, b"x" * 65_537, 1),
        (b"x" * 900_000, b"x" * 900_000, 1),
        (b"", b"", 1),
        ("text", b"text", 1),
        ({"a": "b"}, b"a=b", 1),
        (None, b"", 0),
    ],
    ids=["longest", "longer", "long", "empty", "text", "form", "none"],
)
async def test_every_body_arrives_whole(body: Any, arrives: bytes, tasks: int) -> None:
    async with server(echo) as port, session() as http, counted_tasks() as made:
        reply = await http.post(f"http://127.0.0.1:{port}/", data=body)
        assert await reply.read() == arrives
        assert reply.headers["X-Length"] == str(len(arrives))
    assert len(written(made)) == tasks


@pytest.mark.parametrize("options", [{"chunked": True}, {"compress": "deflate"}, {"expect100": True}])
async def test_what_aiohttp_alone_can_send_it_sends(options: dict[str, Any]) -> None:
    async with server(echo) as port, session() as http:
        reply = await http.post(f"http://127.0.0.1:{port}/", data=b"short", **options)
        assert await reply.read() == b"short"


async def test_a_connection_that_ends_without_an_answer_is_told() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"body")
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening, session() as http:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.post(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", data=b"body")


async def test_a_connection_that_the_other_side_closed_is_not_used_again() -> None:
    async def once(request: web.Request) -> web.Response:
        answer = await echo(request)
        answer.force_close()
        return answer

    async with server(once) as port, session() as http:
        for number in range(5):
            async with http.post(f"http://127.0.0.1:{port}/", data=b"%d" % number) as reply:
                assert await reply.read() == b"%d" % number
