"""Requests to URLs and hosts that the operator did not set: the address guard, and posts over one session."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from weakref import WeakKeyDictionary, WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from yarl import URL

from sprayer_project.errors import SprayerError
from sprayer_project.gate import Busy, Gate
from sprayer_project.limits import Limits
from sprayer_project.posting import Post

Lookup = Callable[[str, int], list[str]]
"""Host name and port to IP addresses. Raises OSError."""

PER_HOST, UNPROVEN = 32, 8
"""Requests under way to one host and port: a slow one waits for itself alone; and before it has answered any."""
PATIENCE = 15.0
"""Seconds for which a request waits for its turn at a host."""
_CONNECTIONS, _DRAIN, _DAY = 2_000, 64 * 1024, 86_400.0

_V4_BLOCKED = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # a cloud's metadata and DNS server on a public address
    )
)
_V6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_V6_BLOCKED = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class BlockedAddress(SprayerError):
    """The host is, or resolves to, an address that requests from outside must not reach."""

    def __init__(self, host: str):
        super().__init__("blocked_address", f"{host} is not a public address.")


class Unreachable(SprayerError):
    """No answer came. unknown: the request left, so that it may have been carried out."""

    def __init__(self, code: str, detail: str, unknown: bool = False):
        super().__init__(code, detail)
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Answer:
    """status is HTTP's; retry_after is in seconds, None where the answer names no time; location is as it came."""

    status: int
    retry_after: float | None
    location: str | None = None


def is_public(address: str) -> bool:
    """Whether this literal IP address may be reached; False for whatever is not the canonical text of one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip in _NAT64:
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _V4_BLOCKED)
    return ip in _V6_GLOBAL and ip.scope_id is None and not any(ip in network for network in _V6_BLOCKED)


def look_up(host: str, port: int) -> list[str]:
    """Every address of a host, by the system's resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_allowed_private(host: str, port: int) -> bool:
    """Whether the operator listed host:port in SPRAYER_WEBHOOK_ALLOW_PRIVATE."""
    name = f"[{host}]" if ":" in host else host.rstrip(".").lower()
    return f"{name}:{port}" in settings.WEBHOOK_ALLOW_PRIVATE


def check_host(host: str, port: int, lookup: Lookup = look_up) -> list[str]:
    """The addresses of host, every one checked: connect to these, never to the name again (it may change its answer).

    Blocks on DNS. Raises BlockedAddress if a single one is not public, OSError when there is none.
    """
    if is_allowed_private(host, port):
        return lookup(host, port)
    addresses = [host.strip("[]")] if looks_like_ip(host) else lookup(host, port)
    if not addresses or not all(map(is_public, addresses)):
        raise BlockedAddress(host)
    return addresses


class GuardedResolver(AbstractResolver):
    """aiohttp's resolver that hands out checked addresses only, so that the connection goes to what was checked."""

    def __init__(self, lookup: Lookup = look_up):
        self._lookup = lookup
        # Threads of its own: names whose servers do not answer must not hold up everybody else's.
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        running = asyncio.get_running_loop()
        addresses = await running.run_in_executor(self._threads, check_host, host, port, self._lookup)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Outbound:
    """The HTTP client of one event loop: one guarded session, one for URLs of the operator's own."""

    def __init__(self, lookup: Lookup = look_up):
        self._guarded = _session(GuardedResolver(lookup))
        self._trusted = _session(None)
        self._gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()
        self._limits = Limits()

    def gate(self, url: str) -> Gate:
        """The gate of a canonical URL's host and port: who calls `send` has a place in it. It is there while in use."""
        end = url.find("/", url.find("://") + 3)
        origin = url[:end] if end > 0 else url
        return self._gates.get(origin) or self._gates.setdefault(origin, Gate(PER_HOST, UNPROVEN))

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float, *, trusted: bool = False
    ) -> Answer:
        """`send` with a place in the URL's gate. Raises Unreachable with endpoint_busy, too."""
        gate = self.gate(url)
        try:
            await gate.enter(min(timeout, PATIENCE))
        except Busy as error:
            raise Unreachable("endpoint_busy", "The endpoint is still busy with earlier requests.") from error
        try:
            return await self.send(url, body, headers, timeout, trusted=trusted)
        finally:
            gate.leave()

    async def send(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float, *, trusted: bool = False
    ) -> Answer:
        """POST once, redirects not followed; trusted is for the operator's URLs alone, which the guard lets pass.

        url is in canonical (encoded) form; timeout is in seconds, with up to half a one more. Raises BlockedAddress;
        Unreachable with no_such_host, connection_failed, tls_failed, bad_answer, connection_lost or timeout.
        """
        target = URL(url, encoded=True)
        host, port = target.raw_host or "", target.port or 0
        if not trusted and looks_like_ip(host) and not is_allowed_private(host, port) and not is_public(host):
            raise BlockedAddress(host)
        try:
            answer = await self._exchange(self._trusted if trusted else self._guarded, target, body, headers, timeout)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unreachable(error) from error
        if answer.status < 500:
            self.gate(url).went_well()
        return answer

    async def close(self) -> None:
        await self._guarded.close()
        await self._trusted.close()

    async def _exchange(
        self, session: aiohttp.ClientSession, target: URL, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        # The connection's limit is the shorter one: running into it proves that nothing was sent.
        limits, answer = aiohttp.ClientTimeout(total=None, connect=min(timeout * 0.8, 10)), None
        try:
            with self._limits.within(timeout):
                post = session.post(target, data=body, headers=headers, allow_redirects=False, timeout=limits)
                async with post as got:
                    wait, location = got.headers.get("Retry-After"), got.headers.get("Location")
                    answer = Answer(got.status, parse_retry_after(wait), location)
                    await _drain(got)
        except (aiohttp.ClientError, TimeoutError):
            if answer is None:
                raise
        return answer  # it counts whatever the body does


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbound] = WeakKeyDictionary()


def client() -> Outbound:
    """The running event loop's client, made on first use."""
    running = asyncio.get_running_loop()
    return _clients.get(running) or _clients.setdefault(running, Outbound())


async def aclose() -> None:
    """Close the running event loop's client, if it has one."""
    if found := _clients.pop(asyncio.get_running_loop(), None):
        await found.close()


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Retry-After (RFC 9110, 10.2.3), a number or a date, as seconds between 0 and a day; None without a usable one."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _DAY)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((when - (now or datetime.now(UTC))).total_seconds(), 0.0), _DAY)


def looks_like_ip(host: str) -> bool:
    # As aiohttp sees it: such a host never reaches a resolver. "2130706433" and "127.1" are among them.
    return ":" in host or host.replace(".", "").isdigit()


def _session(resolver: AbstractResolver | None) -> aiohttp.ClientSession:
    # No cookie of one tenant's endpoint may travel to another's; nobody reads the answers' bodies.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, resolver=resolver, ttl_dns_cache=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=Post,
        auto_decompress=False,
        headers={"User-Agent": "Sprayer/1", "Content-Type": "application/json", "Accept-Encoding": "identity"},
    )


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short body, so that the connection can be used again."""
    taken = 0
    while taken < _DRAIN and not response.content.at_eof():
        taken += len(await response.content.readany())


def _unreachable(error: Exception) -> Unreachable:
    detail = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unreachable("no_such_host", "The host name has no address.")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | aiohttp.ServerFingerprintMismatch):
        return Unreachable("tls_failed", f"The TLS handshake failed: {detail}.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unreachable("connection_failed", "The connection was refused or could not be made.")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Unreachable("timeout", "The connection was not made in time.")
    if isinstance(error, TimeoutError):
        return Unreachable("timeout", "No answer came in time.", unknown=True)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return Unreachable("connection_lost", "The connection broke before an answer came.", unknown=True)
    return Unreachable("bad_answer", f"The answer is not HTTP: {detail}.", unknown=True)
