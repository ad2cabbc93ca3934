"""The sandbox's HTTP server: every gateway below its channel's name, what arrived, and the switches.

GET    /                                    {"gateways": {"sms": {"url": ..., "ca": null}, ...}}
GET    /arrived/<channel>?tenant=&limit=    {"data": [...]}, newest first
DELETE /arrived/<channel>?tenant=           forget them
GET    /control, PUT /control               {"callbacks": true, "delay": 0.1, "slow": 30.0}
"""

import json

from aiohttp import web

from messaging.sandbox import gateways
from messaging.sandbox.base import Gateway, Surroundings
from messaging.sandbox.store import PER_OWNER, Arrivals, Control

_MAX_BODY = 4 * 1024 * 1024


class Sandbox:
    """All gateways on one HTTP port, and the mail gateway on one of its own. Ports of 0 are chosen by the system."""

    def __init__(self, host: str, port: int, smtp_port: int):
        self.host, self.port = host, port
        self.arrivals, self.control = Arrivals(), Control()
        self.gateways: dict[str, Gateway] = gateways(
            Surroundings(arrivals=self.arrivals, control=self.control, host=host, smtp_port=smtp_port)
        )
        self._runner: web.AppRunner | None = None
        self._started: list[Gateway] = []

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Raises OSError when a port is taken; nothing is left open then."""
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port, backlog=1024).start()
            self.port = self._runner.addresses[0][1]
            for gateway in self.gateways.values():
                await gateway.start()
                self._started.append(gateway)
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        while self._started:
            await self._started.pop().stop()
        if self._runner:
            await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY)
        application.add_routes(
            [
                web.get("/", self._root),
                web.get("/arrived/{channel}", self._arrived),
                web.delete("/arrived/{channel}", self._forget),
                web.get("/control", self._switches),
                web.put("/control", self._switch),
            ]
        )
        for name, gateway in self.gateways.items():
            part = web.Application(client_max_size=_MAX_BODY)
            part.add_routes(gateway.routes())
            application.add_subapp(f"/{name}/", part)
        return application

    async def _root(self, request: web.Request) -> web.Response:
        base = f"{request.scheme}://{request.host}"
        return web.json_response({"gateways": {name: one.describe(base) for name, one in self.gateways.items()}})

    async def _arrived(self, request: web.Request) -> web.Response:
        channel, owner = self._filed(request)
        limit = request.query.get("limit", "50")
        if not limit.isdecimal():
            raise web.HTTPBadRequest(text="limit is a whole number.")
        return web.json_response({"data": self.arrivals.newest(channel, owner, min(int(limit), PER_OWNER))})

    async def _forget(self, request: web.Request) -> web.Response:
        self.arrivals.clear(*self._filed(request))
        return web.Response(status=204)

    async def _switches(self, request: web.Request) -> web.Response:
        return web.json_response(self.control.to_json())

    async def _switch(self, request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await request.text())
            self.control.change(wanted if isinstance(wanted, dict) else {"": wanted})
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(self.control.to_json())

    def _filed(self, request: web.Request) -> tuple[str, str | None]:
        channel, tenant = request.match_info["channel"], request.query.get("tenant")
        if channel not in self.gateways:
            raise web.HTTPNotFound(text=f"The sandbox has no gateway {channel!r}.")
        return channel, self.gateways[channel].owner(tenant) if tenant else None
