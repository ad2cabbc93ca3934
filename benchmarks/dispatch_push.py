"""dispatch-push: APNs and FCM requests a second of one dispatcher process, for one message to a group.

References: bare clients of the same libraries (h2 behind messaging.http2, aiohttp) that send the same requests to the
same sink, nginx, with as many at once.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import seeding, tls
from benchmarks.bare_push import CONTENT, TOKEN, apns_seconds, fcm_seconds
from benchmarks.nginx import Nginx
from benchmarks.system import TENANT, Bench, Busy, Dispatcher, percent, wait_for_all
from benchmarks.table import Row, row
from deploy.local.servers import HOST
from messaging import channels, fcm, services
from tenants.models import User
from tenants.services import set_channel_config
from tests.environment import free_port

TARGET = 0.6
_LIMIT = 120.0
_FCM = """
        default_type application/json;
        location = /token {{ return 200 '{{"access_token":"{token}","expires_in":3600,"token_type":"Bearer"}}'; }}
        location / {{ return 200 '{{"name":"projects/bench/messages/0:1500000000000000%31bd1c9631bd1c96"}}'; }}
"""
_APNS = """
    server {{
        listen {host}:{port} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            add_header apns-id $http_apns_id;
            return 200;
        }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Provider:
    channel: str
    name: str
    bare: Callable[[int], float]
    """Sends so many requests by a bare client, and answers in how many seconds."""
    tokens: int
    """Requests for access tokens that come before the first delivery."""


@dataclass(slots=True)
class Measured:
    """Of each round: requests a second, CPU seconds a request, and the sink's share of a core."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    sink: list[float] = field(default_factory=list)

    def add(self, number: int, send: Callable[[], float], sender: Busy, sink: Busy) -> None:
        sender.share()
        sink.share()
        self.rates.append(number / send())
        self.costs.append((sender.seconds() or 0) / number)
        self.sink.append(sink.share() or 0)


def run(bench: Bench) -> list[Row]:
    folder, port = bench.live.folder / "push", free_port()
    folder.mkdir()
    certificate, key = tls.certificate(folder)
    apns = _APNS.format(host=HOST, port=port, certificate=certificate, key=key)
    nginx = Nginx(folder / "nginx", _FCM.format(token=TOKEN), apns)
    nginx.start()
    apns_url = f"https://{HOST}:{port}"
    environment = {
        "SPRAYER_APNS_URL": apns_url,
        "SPRAYER_FCM_URL": nginx.url,
        "SPRAYER_GOOGLE_OAUTH_URL": nginx.url,
        "SSL_CERT_FILE": str(certificate),
    }
    providers = [
        Provider("ios", "APNs", partial(apns_seconds, apns_url, certificate), 0),
        Provider("android", "FCM", partial(fcm_seconds, nginx.url), 1),
    ]
    try:
        return [_measured(bench, provider, nginx, environment) for provider in providers]
    finally:
        nginx.stop()


def _measured(bench: Bench, provider: Provider, nginx: Nginx, environment: Mapping[str, str]) -> Row:
    number, channel, adapter = bench.sizes.pushes, provider.channel, channels.channel(provider.channel)
    # The sandbox's credentials are true ones, and "production" is where SPRAYER_APNS_URL leads.
    config = {**adapter.sandbox_config(TENANT), "environment": "production"}
    set_channel_config(TENANT, channel, config, by=User.objects.get(email="bench@example.com"))
    members = seeding.group(TENANT, channel, number, channel, adapter.sandbox_address)
    dispatcher = bench.start(Dispatcher(bench.live.folder, channel, environment))
    # Connections and tokens are there before anything is timed, as the reference's are.
    first = members.names[: fcm.CONCURRENCY]
    _dispatch(channel, {"receivers": first}, nginx, len(first) + provider.tokens)
    ours, bare, sink = Measured(), Measured(), Busy(nginx.pid)
    for _ in range(bench.sizes.rounds):
        bare.add(number, partial(provider.bare, number), Busy(), sink)
        ours.add(number, partial(_dispatch, channel, {"groups": [channel]}, nginx, number), Busy(dispatcher.pid), sink)
    dispatcher.stop()
    note = (
        f"a group of {number:,} receivers, from its acceptance to the last request at nginx; CPU a request: "
        f"{min(ours.costs) * 1e6:,.0f} µs by the dispatcher, {min(bare.costs) * 1e6:,.0f} µs by the bare client; of "
        f"one core nginx used {percent(max(ours.sink))}, with the bare client {percent(max(bare.sink))}."
    )
    return row(f"dispatch-push ({provider.name})", "requests/s", ours.rates, bare.rates, TARGET, note)


def _dispatch(channel: str, to: Mapping[str, Any], nginx: Nginx, expected: int) -> float:
    """Seconds from the acceptance of a message to the last of the expected requests."""
    before, started = nginx.requests(), time.monotonic()
    services.accept(TENANT, "live", {"to": to, "channels": [channel], "content": CONTENT})
    wait_for_all(lambda: nginx.requests() - before, expected, _LIMIT, "requests")
    return time.monotonic() - started
