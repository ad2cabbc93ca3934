"""The webhook endpoint of everybody: accepts every request below /http, keeps it, and answers as its path says.

Gateway.magic declares the paths that mean something; every other is answered 204. GET /http/count answers
{"count": n}, DELETE starts again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from messaging.channels.base import Look
from messaging.looks import reindented
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Magic, Surroundings

_KEPT_BODY = 64 * 1024
_KEPT_FLAKY = 10_000


class Gateway(Base):
    """Arrivals: {"method", "path", "headers" (names in lower case), "body" (text, its first 64 KiB)}."""

    magic = (
        Magic("/status/<code>", "that status"),
        Magic("/retry-after/<seconds>", "429 with Retry-After"),
        Magic("/flaky/<n>/<name>", "503 to the first n tries of each delivery, then 204"),
        Magic("/redirect", "302 to /http/redirected"),
        Magic("/slow", "204 after 30 seconds (`slow`)"),
        Magic("/reset", "none: the connection is cut once the request has been read"),
        Magic("/count", "204, counted and not kept"),
    )
    magic_place = "path below /http of the sandbox's own URL"

    @classmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        return str(arrival["path"]), Look(shape="code", payload=reindented(arrival["body"]))

    def __init__(self, channel: str, surroundings: Surroundings):
        super().__init__(channel, surroundings)
        self._count = 0
        self._flaky: OrderedDict[str, int] = OrderedDict()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return [
            web.post("/count", self._counted),
            web.get("/count", self._counter),
            web.delete("/count", self._restart),
            web.route("*", "/status/{code:[1-5][0-9][0-9]}", self._status),
            web.route("*", "/retry-after/{seconds:[0-9]{1,5}}", self._retry_after),
            web.route("*", "/flaky/{times:[0-9]{1,3}}/{name:.*}", self._flakily),
            web.route("*", "/redirect", self._redirect),
            web.route("*", "/slow", self._slowly),
            web.route("*", "/reset", self._reset),
            web.route("*", "/{anything:.*}", self._accept),
        ]

    async def _counted(self, request: web.Request) -> web.Response:
        await request.read()
        self._count += 1
        return web.Response(status=204)

    async def _counter(self, request: web.Request) -> web.Response:
        return web.json_response({"count": self._count})

    async def _restart(self, request: web.Request) -> web.Response:
        self._count = 0
        return web.Response(status=204)

    async def _accept(self, request: web.Request) -> web.Response:
        await self._keep(request)
        return web.Response(status=204)

    async def _status(self, request: web.Request) -> web.Response:
        await self._keep(request)
        return web.Response(status=max(int(request.match_info["code"]), 200))

    async def _retry_after(self, request: web.Request) -> web.Response:
        await self._keep(request)
        return web.Response(status=429, headers={"Retry-After": request.match_info["seconds"]})

    async def _flakily(self, request: web.Request) -> web.Response:
        await self._keep(request)
        key = request.headers.get("webhook-id", "") + request.path
        seen = self._flaky[key] = self._flaky.pop(key, 0) + 1
        if len(self._flaky) > _KEPT_FLAKY:
            self._flaky.popitem(last=False)
        return web.Response(status=503 if seen <= int(request.match_info["times"]) else 204)

    async def _redirect(self, request: web.Request) -> web.Response:
        await self._keep(request)
        return web.Response(status=302, headers={"Location": f"/{self.channel}/redirected"})

    async def _slowly(self, request: web.Request) -> web.Response:
        await self._keep(request)
        await asyncio.sleep(self.control.slow)
        return web.Response(status=204)

    async def _reset(self, request: web.Request) -> web.Response:
        await self._keep(request)
        if request.transport:
            request.transport.abort()
        return web.Response(status=204)

    async def _keep(self, request: web.Request) -> None:
        """File the request under the tenant that its Sprayer-Tenant header names."""
        body = await request.read()
        headers: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
        arrival = {"method": request.method, "path": request.path_qs, "headers": headers}
        arrival["body"] = body[:_KEPT_BODY].decode(errors="replace")
        self.arrived(headers.get("sprayer-tenant", ""), arrival)
