"""APNs' documents, and whose tokens and certificates the sandbox deals in.

https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
"""

import base64
import hashlib
import hmac
import ipaddress
import ssl
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings

STATUSES = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256's group (SEC 2, 2.4.2)."""
_TOKEN_AGE = 3_600


class Refused(Exception):
    """A request that APNs answers with this reason."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def team_of(tenant: str) -> str:
    """A tenant's team at the gateway: derived, like its key, so that nobody has to store them."""
    return _word("team", tenant)


def key_id_of(team: str) -> str:
    return _word("key", team)


def private_key_of(team: str) -> str:
    """PEM."""
    return _pem(settings.SECRET_KEY, team)


def team_of_token(authorization: str, now: float | None = None) -> str:
    """The team that a provider token speaks for. Raises Refused.

    The signature counts where the key is one of the gateway's own; of other keys it knows no public half.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused("MissingProviderToken")
    team, issued = _checked(token, settings.SECRET_KEY)
    now = time.time() if now is None else now
    if not now - _TOKEN_AGE <= issued <= now + _TOKEN_AGE:
        raise Refused("ExpiredProviderToken")
    return team


@lru_cache(maxsize=1024)
def _checked(token: str, secret: str) -> tuple[str, float]:
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        claims = jwt.decode(token, options={"verify_signature": False}, algorithms=["ES256"])
        team, issued = claims.get("iss"), claims.get("iat")
        if not isinstance(team, str) or not isinstance(key_id, str) or not isinstance(issued, int | float):
            raise Refused("InvalidProviderToken")
        if key_id == key_id_of(team):
            public = _key(secret, team).public_key()
            jwt.decode(token, public, algorithms=["ES256"], options={"verify_iat": False})
    except jwt.InvalidTokenError as error:
        raise Refused("InvalidProviderToken") from error
    return team, float(issued)


def certificates(hosts: Iterable[str]) -> tuple[ssl.SSLContext, str]:
    """A server's TLS context for these hosts, and the authority (PEM) that vouches for it: both last as long as the
    process."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _certificate("Sprayer sandbox authority", "Sprayer sandbox authority", authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        _certificate("Sprayer sandbox", "Sprayer sandbox authority", own.public_key())
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in sorted(set(hosts))]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads keys from files only
        path = Path(folder, "server.pem")
        path.touch(mode=0o600)
        private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + leaf.public_bytes(Encoding.PEM))
        context.load_cert_chain(path)
    return context, root.public_bytes(Encoding.PEM).decode()


def _word(kind: str, text: str) -> str:
    """Ten capital letters and digits, as Apple's identifiers are."""
    digest = hashlib.blake2b(text.encode(), digest_size=10, person=f"ios.{kind}".encode()).digest()
    return base64.b32encode(digest)[:10].decode()


@lru_cache(maxsize=1024)
def _key(secret: str, team: str) -> ec.EllipticCurvePrivateKey:
    digest = hmac.new(secret.encode(), b"sandbox.ios:" + team.encode(), hashlib.sha512).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


@lru_cache(maxsize=1024)
def _pem(secret: str, team: str) -> str:
    return _key(secret, team).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _certificate(subject: str, issuer: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
