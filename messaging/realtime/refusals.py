"""Why a connection is refused: as an HTTP status, and as a WebSocket's close code."""

from typing import ClassVar

from sprayer_project.errors import SprayerError

BAD_TOKEN, BAD_ORIGIN, TOO_SLOW, RESTARTING, TOO_MANY = 4001, 4003, 4008, 4012, 4029
"""Close codes of our own."""
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
"""https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number"""


class Refused(SprayerError):
    close_code: ClassVar[int]


class BadToken(Refused):
    """The token is missing, not ours, changed or expired."""

    status = 401
    close_code = BAD_TOKEN


class BadOrigin(Refused):
    """A page of this origin may not connect."""

    status = 403
    close_code = BAD_ORIGIN


class Restarting(Refused):
    """This process ends."""

    status = 503
    close_code = RESTARTING

    def __init__(self) -> None:
        super().__init__("restarting", "The server restarts: connect again.", (), 1)


class Expired(BadToken):
    """The token ended while its connection was open."""

    def __init__(self) -> None:
        super().__init__("token_expired", "The token has expired: ask for a new one.")


class TooSlow(Refused):
    """The client does not take, or does not acknowledge, what it is sent."""

    status = 429
    close_code = TOO_SLOW

    def __init__(self) -> None:
        super().__init__("too_slow", "Too much was not taken, or not acknowledged, for too long.")


class TooFast(Refused):
    """The client sends more frames or requests than it may."""

    status = 429
    close_code = POLICY_VIOLATION

    def __init__(self, detail: str) -> None:
        super().__init__("too_fast", detail, (), 1)


class TooMany(Refused):
    """The receiver or the tenant has as many connections as it may have."""

    status = 429
    close_code = TOO_MANY

    def __init__(self, detail: str) -> None:
        super().__init__("too_many_connections", detail, (), 10)


class Unavailable(Refused):
    """A store is away."""

    status = 503
    close_code = TRY_AGAIN_LATER

    def __init__(self) -> None:
        super().__init__("unavailable", "A server that we need is away: connect again in a while.", (), 2)
