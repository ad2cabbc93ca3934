"""Tokens with which a receiver connects: signed, short-lived, naming tenant and receiver."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core import signing

from messaging.realtime.refusals import BadToken

MAX_TTL = 86_400
_SALT = "sprayer.realtime.token"


@dataclass(frozen=True, slots=True)
class Claims:
    tenant: str
    receiver: str
    expires_at: datetime

    @property
    def left(self) -> float:
        """Seconds."""
        return (self.expires_at - datetime.now(UTC)).total_seconds()


def issue(tenant: str, receiver: str, ttl: int) -> tuple[str, datetime]:
    """A URL-safe token for a receiver and when it expires. ttl: seconds, 1 to MAX_TTL."""
    if not 1 <= ttl <= MAX_TTL:
        raise ValueError(f"ttl is 1 to {MAX_TTL} seconds")
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=ttl)
    claims = {"t": tenant, "r": receiver, "x": int(expires_at.timestamp())}
    return signing.dumps(claims, salt=_SALT, compress=False), expires_at


def verify(token: str) -> Claims:
    """Raises BadToken."""
    if not token:
        raise BadToken("missing_token", "Pass a token as Authorization: Bearer or as ?token=.")
    try:
        claims = signing.loads(token, salt=_SALT, max_age=MAX_TTL + 60)
    except signing.SignatureExpired as error:
        raise BadToken("token_expired", "The token has expired: ask for a new one.") from error
    except signing.BadSignature as error:
        raise BadToken("invalid_token", "This is not a token of this server.") from error
    expires_at = datetime.fromtimestamp(claims["x"], UTC)
    if expires_at <= datetime.now(UTC):
        raise BadToken("token_expired", "The token has expired: ask for a new one.")
    return Claims(claims["t"], claims["r"], expires_at)
